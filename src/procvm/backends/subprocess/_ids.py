"""Identities: 128 bits of the system's chance each."""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["identities"]

_AT_ONCE = 64  # the system is asked as rarely: each call may hand over the interpreter lock


def identities() -> Iterator[str]:
    """Yield fresh ones, as hex, without end."""
    while True:
        drawn = os.urandom(16 * _AT_ONCE).hex()
        for begin in range(0, len(drawn), 32):
            yield drawn[begin : begin + 32]
