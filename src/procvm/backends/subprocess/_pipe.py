"""What one program writes: its pipes, watched by the loop and read beside it."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from ..base import Timer
from ._calls import CALLS
from ._floods import Flood
from ._lease import LoopLease

__all__ = ["Pipes"]

_MOST_AT_ONCE = 64 * 1024
# A whole pipe, at most 1 MiB (pipe(7)), and as much that was being read of it.
_MOST_AT_AN_END = 2 * 2**20
# How long an exit waits for what is in a pipe that somebody holds: half a second in which nothing
# is read and the loop had its turns. Its readers may have to wait for theirs, beside threads that
# compute.
_TICK, _MOST_TICKS = 0.025, 20
# Who writes all the time is read once in a millisecond, after a burst: each read wakes two
# threads, and as many wakings as there can be leave little of a busy machine to others.
_PACE, _BURST = 0.001, 32


def _nothing(_: object) -> None:
    return


class Pipe:
    """One reading end; it lives in the loop, but for what is asked of the readers, one at a time.

    Args:
        fd: Does not block; it is this one's now.
        loop: Watches it, and has threads that read.
        got: Gets what was read.
        aside: Gets it before, beside the loop, where it may block.
        warn: Is told when it cannot be watched.
    """

    def __init__(
        self, fd: int, loop: LoopLease, got: Callable[[bytes], None],
        aside: Callable[[bytes], None] | None, warn: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.fd = fd
        self._loop, self._got, self._aside, self._warn = loop, got, aside, warn
        self._flood = Flood()
        self._is_watched = self._is_out = self.is_closed = False
        self._then: Callable[[], None] | None = None
        self._left = 0
        self._taken = b""  # read, and not told yet
        self._often = self._last = 0.0
        self._look: Timer | None = None

    def watch(self) -> None:
        """Read it whenever there is something."""
        if self._is_watched or self.is_closed or self._is_out:
            return
        try:
            self._loop.register(self.fd, self._ready)
            self._is_watched = True
        except OSError as e:  # epoll(7): max_user_watches
            self._warn(f"its output is read at its end alone: {e.strerror}")

    def _unwatch(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._loop.unregister(self.fd)

    def _ready(self) -> None:
        seen = CALLS.look(self.fd)
        if seen == select.POLLHUP:
            self._end()
        elif seen:
            self._ask()

    def _ask(self) -> None:
        """Have it read; it is not watched meanwhile, for it would be seen all the time."""
        self._unwatch()
        self._is_out = True
        self._loop.readers.ask(self._read, self._came)

    def _read(self) -> bytes | None:
        """Beside the loop: read once; None when there was nothing."""
        try:
            data = os.read(self.fd, max(_MOST_AT_ONCE, self._flood.size))
        except BlockingIOError:
            return None
        except OSError:
            return b""
        self._flood.saw(self.fd, len(data))
        self._taken = data
        if data and self._aside is not None:
            self._aside(data)
        return data

    def _came(self, data: bytes | None) -> None:
        try:
            self._tell()
        finally:
            self._is_out = False
            self._go_on(is_at_end=data == b"")

    def _tell(self) -> None:
        data, self._taken = self._taken, b""
        if data and not self.is_closed:
            self._left -= len(data)
            self._got(data)

    def _go_on(self, *, is_at_end: bool) -> None:
        if self.is_closed:  # meanwhile, or by whoever got the data
            self._let_go()
            return
        if is_at_end:
            self._end()
        if self._then is not None:
            self._drain()
        if self._is_too_often():
            self._loop.call_later(_PACE, self.watch)
        else:
            self.watch()
        if self._flood.is_large and self._look is None:
            self._look = self._loop.call_later(Flood.LOOK_EVERY, self._look_at_size)

    def _is_too_often(self) -> bool:
        now = self._loop.monotonic()
        self._often = max(0.0, self._often - (now - self._last) / _PACE) + 1.0
        self._last = now
        return self._often > _BURST

    def _look_at_size(self) -> None:
        self._look = None
        if not (self._is_out or self.is_closed):
            self._unwatch()
            self._is_out = True
            self._loop.readers.ask(partial(self._flood.look, self.fd), self._came)

    def drain(self, then: Callable[[], None]) -> None:
        """Call ``then`` when what is in it now was told: at once, where it is empty.

        A flooding grandchild prolongs it by two pipes at most.
        """
        self._then, self._left = then, _MOST_AT_AN_END
        if not self._is_out:
            self._drain()

    def _drain(self) -> None:
        if not self.is_closed and self._left > 0:
            seen = CALLS.look(self.fd)
            if seen == select.POLLHUP:
                self._end()
            elif seen:
                self._ask()
                return
        then, self._then = self._then, None
        if then is not None:
            then()

    def drain_no_more(self) -> None:
        """Tell at once what was read and waits to be written, and not when it is empty."""
        self._then = None
        self._tell()

    def _end(self) -> None:
        """Close it at its end: there is no writer who could hold it."""
        self._forget()
        self._flood.forget()
        CALLS.close(self.fd)

    def _forget(self) -> None:
        self.is_closed = True
        self._unwatch()
        if self._look is not None:
            self._look.cancel()

    def close(self) -> None:
        """Read no more; what is drained is not told of."""
        if not self.is_closed:
            self._then = None
            self._forget()
            if not self._is_out:
                self._let_go()

    def _let_go(self) -> None:
        """Close it, beside the loop where it has writers, who may hold it."""
        self._flood.forget()
        if CALLS.look(self.fd) == select.POLLHUP:
            CALLS.close(self.fd)
        else:
            self._loop.readers.close_pipe(self.fd)


class Pipes:
    """Both pipes of one program.

    Args:
        loop: Watches them, and has threads that read.
        got: Gets what was read, with the name of its stream.
        aside: Gets it before, beside the loop, where it may block.
        warn: Is told when one cannot be watched.
    """

    def __init__(
        self, loop: LoopLease, got: Callable[[str, bytes], None],
        aside: Callable[[bytes], None] | None = None, warn: Callable[[str], None] = _nothing,
    ) -> None:  # fmt: skip
        self._loop, self._got, self._aside, self._warn = loop, got, aside, warn
        self._pipes: tuple[Pipe, ...] = ()
        self._thens: deque[Callable[[], None]] = deque()
        self._is_draining = False
        self._left: Iterator[Pipe] = iter(())
        self._drained: Pipe | None = None  # what is being drained
        self._ticks = 0
        self._timer: Timer | None = None

    def open(self, stdout: int, stderr: int) -> None:
        """Take over their descriptors, which do not block."""
        self._pipes = tuple(
            Pipe(fd, self._loop, partial(self._hear, stream), self._aside, self._warn)
            for stream, fd in (("stdout", stdout), ("stderr", stderr))
        )

    def _hear(self, stream: str, data: bytes) -> None:
        self._ticks = 0
        self._got(stream, data)

    @property
    def fds(self) -> tuple[int, ...]:
        """Their descriptors, as far as they are open."""
        return tuple(pipe.fd for pipe in self._pipes if not pipe.is_closed)

    def watch(self) -> None:
        """Read them whenever there is something."""
        for pipe in self._pipes:
            pipe.watch()

    def drain(self, then: Callable[[], None]) -> None:
        """Call ``then`` when what was written until now was told; each in its turn."""
        self._thens.append(then)
        if not self._is_draining:
            self._begin()

    def _begin(self) -> None:
        self._is_draining, self._left, self._ticks = True, iter(self._pipes), 0
        self._next()

    def _next(self) -> None:
        self._drained = next(self._left, None)
        if self._drained is not None:
            self._drained.drain(self._next)
            self._wait()
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        then = self._thens.popleft()
        try:
            then()
        finally:
            if self._thens:
                self._begin()
            else:
                self._is_draining = False

    def _wait(self) -> None:
        if self._drained is not None and self._timer is None:
            self._timer = self._loop.call_later(_TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._ticks += 1
        if self._drained is not None and self._ticks >= _MOST_TICKS:
            try:
                self._drained.drain_no_more()
            finally:
                self._left = iter(())
                self._next()
        else:
            self._wait()

    def close(self) -> None:
        """Read no more; what waits for the rest is not told of it."""
        self._thens.clear()
        self._drained = None
        for pipe in self._pipes:
            pipe.close()

    def forget(self) -> None:
        """In a forked child: close its copies, which the parent's being open makes harmless."""
        for fd in self.fds:
            os.close(fd)
        self._pipes = ()
