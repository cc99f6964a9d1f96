"""Floor 0, a keyword that a configuration does not have is told with the one that was meant."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import attrs

from ._near import did_you_mean

__all__ = ["knows_keywords", "what_was_meant"]

T = TypeVar("T")
_meant: dict[type, dict[str, str]] = {}  # by class: what other libraries call its fields


def knows_keywords(**meant: str) -> Callable[[type[T]], type[T]]:
    """Return a decorator of an attrs class; ``meant``: what other libraries call its fields."""

    def told(cls: type[T]) -> type[T]:
        made: Any = cls
        _meant[cls] = meant
        plain, names = made.__init__, [field.alias for field in attrs.fields(made)]

        @functools.wraps(plain)
        def init(self: Any, *given: Any, **options: Any) -> None:
            try:
                plain(self, *given, **options)
            except TypeError as e:
                unknown = [name for name in options if name not in names]
                if not unknown:
                    raise
                asked = what_was_meant(cls, unknown, names)
                words = [f"{cls.__name__} takes no {unknown[0]!r}", *([asked] if asked else [])]
                raise TypeError("; ".join([*words, f"there are {', '.join(names)}"])) from e

        made.__init__ = init
        return cls

    return told


def what_was_meant(kind: type, unknown: list[str], names: Collection[str]) -> str:
    """Return the question whether one of its fields was meant; empty where none is likely."""
    known = [_meant[kind][name] for name in unknown if name in _meant.get(kind, ())]
    return f"did you mean {known[0]!r}?" if known else did_you_mean(unknown, names)
