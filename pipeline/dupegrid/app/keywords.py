"""What help() shows and a notebook completes: the settings of a verb as keywords, what a run reads once."""

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar, get_type_hints

from dupegrid.core.config import Config, settings_of
from dupegrid.core.settings import Settings

Verb = TypeVar("Verb", bound=Callable[..., Any])
Read = TypeVar("Read")


class read_once(cached_property[Read]):  # noqa: N801 - a decorator, like the one that it is
    """A cached_property, of which help() says this in place of `<functools.cached_property object>`."""

    def __repr__(self) -> str:
        return "read when it is first asked for"


def with_keywords(verb: Verb) -> Verb:
    """The same verb; its signature has each of its settings in place of `**settings`, its docstring what each does."""
    *own, _settings = inspect.signature(verb).parameters.values()
    hints = get_type_hints(Settings)
    fields = {name: Config.model_fields[name] for name in settings_of(verb.__name__)}
    defaults = {name: None if field.default_factory else field.default for name, field in fields.items()}
    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])
        for name, default in defaults.items()
    ]
    verb.__signature__ = inspect.Signature([*own, *keywords])  # type: ignore[attr-defined]
    told = "\n".join(f"    {name}: {field.description}" for name, field in fields.items())
    verb.__doc__ = f"{inspect.getdoc(verb)}\n\nSettings:\n{told}\n"
    return verb
