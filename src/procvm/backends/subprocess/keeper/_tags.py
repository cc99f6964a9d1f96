"""The tag: a soft RLIMIT_LOCKS of its own for each tree, which fork and exec inherit.

Sixty-three bits: a one, 32 random bits of the keeper, 14 bits of the tree, and 16 bits left for a
keeper that runs inside of that tree, so that whoever takes the outer one away recognises all.
"""

from __future__ import annotations

import posix
import resource

from ._kernel import RLIMIT_LOCKS, may_be_tagged

__all__ = ["Tags"]

_OURS = 1 << 62
_INNER = 0xFFFF


class Tags:
    """Gives each tree a tag that no living tree of this keeper has."""

    def __init__(self) -> None:
        soft, self.hard = resource.getrlimit(RLIMIT_LOCKS)
        self.soft = soft
        self.is_outermost = soft < _OURS
        self.base, self._shift, self._most, self.mask = 0, 0, 0, -1
        if soft >= _OURS and soft & _INNER:
            self.works = False  # a third level shares what the second gave it
        elif soft >= _OURS:
            self.base, self._shift, self._most, self.mask = soft, 0, _INNER, -1
            self.works = may_be_tagged(soft | 1)
        else:
            chance = int.from_bytes(posix.urandom(4), "little")
            self.base, self._shift, self._most = _OURS | chance << 30, 16, 0x3FFF
            self.mask = ~_INNER
            self.works = may_be_tagged(self.base | 1 << 16)
        self._last = int.from_bytes(posix.urandom(2), "little") & 0x3FFF

    def new(self, taken: dict[int, object]) -> int | None:
        """Return a tag that is not ``taken``; None when there is none to be had."""
        if not self.works or len(taken) >= self._most:
            return None
        while True:
            self._last = self._last % self._most + 1
            tag = self.base | self._last << self._shift
            if tag not in taken:
                return tag

    def put_on(self, tag: int | None) -> None:
        """Carry ``tag``, for what is spawned next to inherit; None: carry what was there."""
        if self.works:
            resource.setrlimit(RLIMIT_LOCKS, (self.soft if tag is None else tag, self.hard))
