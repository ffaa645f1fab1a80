"""What is not taken from a run directory, which somebody else may have made: code that is run, and addresses."""

import os
from collections.abc import Mapping
from typing import Any, Final

from dupegrid.core.config import Config, settings_of
from dupegrid.core.errors import UsageError
from dupegrid.core.settings import CompareSettings
from dupegrid.core.text import printable
from dupegrid.core.values import SCHEDULERS_HERE
from dupegrid.images.remote import is_address
from dupegrid.images.thumbnail_hashes import hash_code, is_own_hash
from dupegrid.pairs.measure import is_built_in, metric_code

_OWN: Final = ("metric", "hash")  # settings that may be code


def check_trusted(config: Config, settings: CompareSettings, client: Any) -> None:
    """Refuse what would run code or connect only because a run directory says so."""
    for key in _OWN:
        if settings.get(key) not in (None, getattr(config, key)):
            raise cannot_change(key)
    _check_given(config, settings, client, config.same_hash == "any")  # then compare makes no hashes


def check_going_on(config: Config, settings: Mapping[str, Any]) -> None:
    """`check_trusted` for a run that goes on with the PATHs of a run directory, where these may not be addresses."""
    _check_given(config, settings, None, False)
    if address := next((root for root in config.roots if is_address(os.fsencode(root))), None):
        raise UsageError(f"this run is of {printable(address)}, an address: name the PATHs again")


def _check_given(config: Config, settings: Mapping[str, Any], client: Any, no_hashes: bool) -> None:
    own = {"metric": is_built_in(config.metric), "hash": no_hashes or is_own_hash(config.hash)}
    for key, is_own in own.items():
        known = getattr(config, key)
        if settings.get(key) is None and not is_own:
            raise UsageError(f"this run was made with --{key} {known}, which is code: give --{key} {known} again")
    scheduler = printable(str(config.scheduler))
    is_ours = config.scheduler is None or config.scheduler in SCHEDULERS_HERE
    if client in (None, False) and settings.get("scheduler") is None and not is_ours:
        raise UsageError(
            f"this run was made with --scheduler {scheduler}: give --scheduler {scheduler} again, "
            "or --scheduler threads"
        )


def check_fetching(config: Config) -> None:
    """Refuse to fetch pictures again from an address that only a run directory names."""
    if config.relations and any(is_address(root) for root in map(os.fsencode, config.roots)):
        raise UsageError("--relations would fetch pictures again: name the PATHs, 'dupegrid run PATH... --relations'")


def cannot_change(key: str) -> UsageError:
    """The error for a setting that compare does not change."""
    known = ", ".join(name for name in settings_of("compare") if name not in ("metric", "hash"))  # only given again
    return UsageError(f"compare cannot change {key!r}, only {known}: run again instead")


def codes_of(config: Config) -> dict[str, str]:
    """What the code that decides pairs is known by, for run.json. Imports it."""
    name = config.hash if config.same_hash != "any" else None
    return {"metric_code": metric_code(config.metric), "hash_code": hash_code(name)}


def codes_in(saved: Mapping[str, Any]) -> tuple[Any, Any]:
    """What run.json says of it: of the metric, of the hash."""
    return saved.get("metric_code", ""), saved.get("hash_code", "")
