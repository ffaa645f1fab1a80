"""The settings of a verb as keywords of their own, which help() shows and a notebook completes."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

from dupegrid.core.config import Config, settings_of
from dupegrid.core.settings import Settings

Verb = TypeVar("Verb", bound=Callable[..., Any])


def with_keywords(verb: Verb) -> Verb:
    """The same verb, whose signature has each of its settings in place of `**settings`, with type and default."""
    *own, _settings = inspect.signature(verb).parameters.values()
    hints = get_type_hints(Settings)
    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_default(name), annotation=hints[name])
        for name in settings_of(verb.__name__)
    ]
    verb.__signature__ = inspect.Signature([*own, *keywords])  # type: ignore[attr-defined]
    return verb


def _default(name: str) -> Any:
    field = Config.model_fields[name]
    return None if field.default_factory else field.default
