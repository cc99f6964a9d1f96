"""What the guard is told through: a pipe that it reads when it fills, or its host has died."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
from collections.abc import Iterator

__all__ = ["GuardPipe"]

_SMALLEST = 4096  # bytes, pipe(7)
_PATIENCE = 50  # milliseconds; all that it takes is a look of the guard's


class GuardPipe:
    """Holds back what a full pipe did not take, and knows when the guard is to be woken.

    To be woken by each start would take a processor from the program that starts.
    """

    def __init__(self) -> None:
        ends: list[int] = []
        try:
            ends += os.pipe()
            ends += os.pipe()
            self.to_read, self._pipe, self.nudged, self._nudge = ends
            os.set_blocking(self._pipe, False)
            os.set_blocking(self._nudge, False)
            self._most_unread = _size_of(self._pipe) // 4
        except BaseException:
            for end in ends:
                os.close(end)
            raise
        self._ends = ends  # those that are open here
        self._untold, self._unread = bytearray(), 0
        self.is_due = False  # whether what is held back is to be tried once more

    @property
    def has_told_all(self) -> bool:
        """Whether everything said is in the pipe."""
        return not self._untold

    def hand_over(self) -> None:
        """Close the guard's ends: it has them now."""
        for end in (self.to_read, self.nudged):
            self._ends.remove(end)
            os.close(end)

    def write(self, words: str) -> bool:
        """Say more, and return whether all is told; OSError: nobody reads."""
        self._untold += words.encode()
        with _no_sigpipe(), contextlib.suppress(BlockingIOError):
            told = os.write(self._pipe, self._untold)
            del self._untold[:told]
            self._unread += told
        return self.has_told_all

    def is_filling(self) -> bool:
        """Tell whether there is much that nobody has read, once."""
        if self._unread <= self._most_unread:
            return False
        self._unread = 0
        return True

    def nudge(self) -> None:
        """Have it read now."""
        with _no_sigpipe(), contextlib.suppress(BlockingIOError):  # it is full of such
            os.write(self._nudge, b"!")

    def await_room(self) -> None:
        """Wait a little until it has read; somebody may have stopped it."""
        poll = select.poll()
        poll.register(self._pipe, select.POLLOUT)
        poll.poll(_PATIENCE)

    def close(self) -> None:
        """Close what is open of it; again is silent."""
        ends, self._ends = self._ends, []  # a child forked now closes its own alone
        self._pipe = self._nudge = -1
        for end in ends:
            os.close(end)


def _size_of(pipe: int) -> int:
    """Return how much it holds: 64 KiB, and less for a user who has many (pipe(7))."""
    if not hasattr(fcntl, "F_GETPIPE_SZ"):
        return _SMALLEST
    return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)


@contextlib.contextmanager
def _no_sigpipe() -> Iterator[None]:
    """Write to who may be dead, in a host that gave SIGPIPE its default back, as for ``| head``.

    A write to nobody sends it to the thread that writes, which would end the host (pipe(7)).
    """
    if signal.SIGPIPE in signal.pthread_sigmask(signal.SIG_BLOCK, ()):  # the host's own wish
        yield
        return
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGPIPE,))
        yield
    except BrokenPipeError:
        _swallow(signal.SIGPIPE)
        raise
    finally:  # also where a handler of another signal has raised in there
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGPIPE,))


def _swallow(number: signal.Signals) -> None:
    """Take a signal away that was sent to this thread and is blocked in it."""
    if hasattr(signal, "sigtimedwait"):
        signal.sigtimedwait((number,), 0)
    elif number in signal.sigpending():  # macOS
        signal.sigwait((number,))
