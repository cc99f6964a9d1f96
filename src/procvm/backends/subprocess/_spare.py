"""Two descriptors kept back, for the look that must not fail when the host has none left."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Spare"]

_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
_MOST = 2
T = TypeVar("T")


class Spare:
    """Lends them to one call at a time: a pidfd, and a file beside it."""

    def __init__(self) -> None:
        self._fds: list[int] = []
        self._take()

    def _take(self) -> None:
        try:
            while len(self._fds) < _MOST:
                self._fds.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            pass  # the next look may find some

    def lend(self, call: Callable[[], T]) -> T:
        """Return what ``call`` does; where it has no descriptor, once more with the spare ones."""
        try:
            return call()
        except OSError as e:
            if e.errno not in _NO_DESCRIPTOR or not self._fds:
                raise
        self.close()
        try:
            return call()
        finally:
            self._take()

    def close(self) -> None:
        """Give them up."""
        while self._fds:
            os.close(self._fds.pop())
