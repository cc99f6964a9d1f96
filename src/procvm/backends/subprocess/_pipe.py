"""What one program writes: its pipes, watched by the loop and read beside it."""

from __future__ import annotations

import contextlib
import os
import select
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from ..base import Timer
from ._calls import CALLS
from ._floods import Flood
from ._lease import LoopLease
from ._logfile import LogFile

__all__ = ["Pipes"]

_MOST_AT_ONCE = 64 * 1024
# A whole pipe, at most 1 MiB (pipe(7)), and as much that was being read of it.
_MOST_AT_AN_END = 2 * 2**20
# How long an exit waits for a pipe that somebody holds, or for a disk: half a second in which
# nothing comes and the loop had its turns.
_TICK, _MOST_TICKS = 0.025, 20
# Who writes all the time is read once in a millisecond, after a burst: each read wakes two
# threads, and as many wakings as there can be leave little of a busy machine to others.
_PACE, _BURST = 0.001, 32
_UNWATCHED = 0.1  # seconds between two looks at what cannot be watched


class Pipe:
    """One reading end; it lives in the loop, but for what is asked of the readers, one at a time.

    Args:
        fd: Does not block; it is this one's now.
        loop: Watches it, and has threads that read.
        got: Gets what was read, once that is in the file.
        file: Is written beside the loop, for that may block.
        warn: Is told when it cannot be watched.
    """

    def __init__(
        self, fd: int, loop: LoopLease, got: Callable[[bytes], None], file: LogFile | None,
        warn: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.fd = fd
        self._loop, self._got, self._file, self._warn = loop, got, file, warn
        self._flood = Flood()
        self._is_watched = self._is_out = self.is_closed = self._has_warned = False
        self._is_writing = False  # what was read, into the file
        self.is_hasty = False  # the disk hangs: tell first
        self._taken = b""  # read, and not told yet
        self._then: Callable[[], None] | None = None
        self._left, self._is_asked = 0, False  # of a drain
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
            if not self._has_warned:
                self._has_warned = True
                self._warn(f"its output is looked at ten times a second: {e.strerror}")
            self._loop.call_later(_UNWATCHED, self._look_anyway)

    def _look_anyway(self) -> None:
        if not (self._is_watched or self.is_closed or self._is_out):
            self._ready()
            self.watch()

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
        with contextlib.suppress(OSError):  # what was read is not lost for that
            self._flood.saw(self.fd, len(data))
        return data

    def _came(self, data: bytes | None) -> None:
        if data and self._file is not None:
            self._file.put(data)
            if not self.is_hasty:
                self._taken, self._is_writing = data, True
                self._loop.readers.ask(self._file.flush, lambda _: self._written(data))
                return
        self._told(data)

    def _written(self, data: bytes) -> None:
        if self._is_writing and self._taken is data:  # else it was told in haste
            self._told(data)

    def _told(self, data: bytes | None) -> None:
        """Tell what was read, and go on."""
        self._taken, self._is_writing = b"", False
        try:
            if data and not self.is_closed:
                self._left -= len(data)
                self._got(data)
        finally:
            self._is_out = False
            self._go_on(0 if data is None else len(data), is_at_end=data == b"")

    def _go_on(self, size: int, *, is_at_end: bool) -> None:
        if self.is_closed:  # meanwhile, or by whoever got the data
            self._let_go()
            return
        try:
            if is_at_end:
                self._end()
            if self._then is not None and self._is_asked and size < _MOST_AT_ONCE:
                self._drained()  # it was emptied; what came since came after the end
            elif self._then is not None:
                self._drain()
        finally:
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
            self._loop.readers.ask(partial(self._flood.look, self.fd), self._told)

    # --- at an end ------------------------------------------------------------------------

    def drain(self, then: Callable[[], None]) -> None:
        """Call ``then`` when what is in it now was told: at once, where it is empty.

        A flooding grandchild prolongs it by two pipes at most.
        """
        self._then, self._left, self._is_asked = then, _MOST_AT_AN_END, False
        if not self._is_out:
            self._drain()

    def _drain(self) -> None:
        if not self.is_closed and self._left > 0:
            seen = CALLS.look(self.fd)
            if seen == select.POLLHUP:
                self._end()
            elif seen:
                self._is_asked = True
                self._ask()
                return
        self._drained()

    def _drained(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            then()

    def is_patient(self) -> bool:
        """Tell whether it will be read: where it has no writers there is nobody who holds it."""
        return not (self._is_writing or self.is_closed) and bool(
            CALLS.look(self.fd) & select.POLLHUP
        )

    def give_up(self) -> bool:
        """Wait no more. True: for the disk; what was read is told now, and written when it can be.

        False: for who holds it, and so it is as good as drained.
        """
        if self._is_writing:
            self.is_hasty = True
            self._told(self._taken)
            return True
        self._then = None
        return False

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
        got: Gets what was read, with the name of its stream, once that is in the file.
        file: Is written beside the loop, for that may block.
        warn: Is told when one cannot be watched.
    """

    def __init__(
        self, loop: LoopLease, got: Callable[[str, bytes], None],
        file: LogFile | None = None, warn: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._loop, self._got, self._file, self._warn = loop, got, file, warn
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
            Pipe(fd, self._loop, partial(self._hear, stream), self._file, self._warn)
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
        self._be_hasty(wanted=False)
        then = self._thens.popleft()
        try:
            then()
        finally:
            if self._thens:
                self._begin()
            else:
                self._is_draining = False

    def _be_hasty(self, *, wanted: bool) -> None:
        for pipe in self._pipes:
            if self._file is not None and pipe.is_hasty and not wanted:
                self._loop.readers.do(self._file.flush)  # what was told first is to be written
            pipe.is_hasty = wanted

    def _wait(self) -> None:
        if self._drained is not None and self._timer is None:
            self._timer = self._loop.call_later(_TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        drained = self._drained
        if drained is None:
            return
        if not drained.is_patient():
            self._ticks += 1
        if self._ticks < _MOST_TICKS:
            self._wait()
        elif drained.give_up():
            self._ticks = 0
            self._be_hasty(wanted=self._is_draining)
            self._wait()
        else:
            self._left = iter(())
            self._next()

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
