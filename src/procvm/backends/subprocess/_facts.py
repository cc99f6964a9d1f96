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
        shape = _SHAPES[fact[0]]
        if len(fact) != len(shape) + 1 or not all(map(isinstance, fact[1:], shape)):
            raise ValueError(f"no fact: {fact!r}"[:100])
        if fact[0] == words.HELLO and not set(words.ABILITIES) <= fact[2].keys():
            raise ValueError("a greeting that leaves something out")
    return facts
