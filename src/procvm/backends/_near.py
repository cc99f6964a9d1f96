"""Names that look like one that was mistyped."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["near_names"]

_MOST_NAMES = 100  # each is compared letter by letter, perhaps in the engine's loop
_LONGEST = 64


def near_names(asked: str, names: Collection[str]) -> tuple[str, ...]:
    """Return up to three of ``names`` that look like ``asked``, the nearest first.

    Of very many names, or for a very long one, it looks at none.
    """
    if not asked or len(asked) > _LONGEST or len(names) > _MOST_NAMES:
        return ()
    import difflib  # noqa: PLC0415 - for a mistake alone

    short = [name for name in names if len(name) <= _LONGEST]
    return tuple(difflib.get_close_matches(asked, short))
