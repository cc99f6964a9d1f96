"""Floor 0, names that look like one that was mistyped."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["did_you_mean", "near_names"]

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


def did_you_mean(asked: Collection[str], names: Collection[str]) -> str:
    """Return the question, of the names nearest to each of ``asked``; empty where none is near."""
    near = dict.fromkeys(name for one in asked for name in near_names(one, names)[:1])
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""
