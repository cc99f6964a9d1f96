"""What the keeper says, decoded and looked at before anything of it is believed."""

from __future__ import annotations

import marshal
import socket
from typing import Any

from .keeper import _words as words

__all__ = ["decoded"]

_NUMBER = (int, type(None))
_SHAPES: dict[str, tuple[type | tuple[type, ...], ...]] = {  # what follows the word of a fact
    words.STARTED: (int, int, _NUMBER), words.FAILED: (int, int, str),
    words.ENDED: (int, _NUMBER, _NUMBER, bool), words.GONE: (int,), words.SURVIVED: (int, tuple),
    words.HELLO: (int, dict), words.PONG: (),
}  # fmt: skip


def decoded(data: memoryview, flags: int) -> tuple[tuple[Any, ...], ...]:
    """Return the facts of one message; ValueError, or what marshal raises, when they are none."""
    if flags & socket.MSG_TRUNC:
        raise ValueError("a message of more than there may be")
    facts: tuple[tuple[Any, ...], ...] = tuple(marshal.loads(data))  # noqa: S302 - our own keeper's
    for fact in facts:
        kind, *rest = fact
        shape = _SHAPES[kind]
        is_good = len(rest) == len(shape) and all(map(isinstance, rest, shape))
        if is_good and kind == words.SURVIVED:
            is_good = all(tuple(map(type, one)) == (int, str) for one in rest[1])
        elif is_good and kind == words.HELLO:
            is_good = set(words.ABILITIES) <= rest[1].keys()
        if not is_good:
            raise ValueError(f"no fact: {fact!r}"[:100])
    return facts
