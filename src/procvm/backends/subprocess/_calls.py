"""System calls that never block, on the way of every verb.

CPython gives its lock away around each system call. Beside a thread that computes it comes back
at once when the call was shorter than that thread's waking, else after a switch interval of 5 ms:
each call of a verb is a chance to lose as much. Where ctypes is to be had they are made without
giving the lock away: none of them blocks, and the longest copies a message. Reading a program's
pipe is none of them: whoever is writing into it holds its mutex for as long as that takes,
O_NONBLOCK or not (splice(2) from a slow file, say). To ask whether there is anything to read takes
no mutex.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
from collections.abc import Callable
from typing import Protocol

__all__ = ["CALLS", "FDS_IN_ONE", "Calls", "Mailbox", "OrdinaryCalls"]

FDS_IN_ONE = 256


class Mailbox(Protocol):
    """Receives messages with descriptors into a buffer of its own."""

    def receive(self, sock: socket.socket) -> tuple[memoryview, list[int], int]:
        """Return a message, its descriptors (none inherited) and flags; OSError as recvmsg."""


class Calls(Protocol):
    """What is called; each raises what its namesake in ``os`` or ``select`` does."""

    def close(self, fd: int) -> None:
        """Close a pipe whose end was read: while a writer is in the kernel it could block."""

    def wake(self, event: int) -> None:
        """Add one to an eventfd that does not block."""

    def ring(self, fd: int) -> None:
        """Write a byte into a pipe of our own, which is empty."""

    def hush(self, fd: int) -> None:
        """Read that byte, which is there."""

    def watch(self, epoll: select.epoll, fd: int) -> None:
        """Begin to watch for input."""

    def unwatch(self, epoll: select.epoll, fd: int) -> None:
        """End that."""

    def send(self, sock: socket.socket, data: bytes) -> None:
        """Send a message, or raise BlockingIOError."""

    def hint(self, sock: socket.socket, data: bytes) -> None:
        """Send a message that may be lost; it is not sent where it would be a call more."""

    def mailbox(self, size: int) -> Mailbox:
        """Make one for messages of up to ``size`` bytes; as the others for one thread."""

    def look(self, fd: int) -> int:
        """Tell what is to be read in a pipe: 0 nothing, POLLHUP its end alone."""

    def glance(self, epoll: select.epoll) -> Callable[[], list[int]]:
        """Make a function that tells what is readable without waiting; perhaps not all."""


class _OrdinaryMailbox:
    def __init__(self, size: int) -> None:
        self._buffer = bytearray(size)
        self._view = memoryview(self._buffer)

    def receive(self, sock: socket.socket) -> tuple[memoryview, list[int], int]:
        room = socket.CMSG_SPACE(4 * FDS_IN_ONE)
        size, more, flags, _ = sock.recvmsg_into([self._buffer], room, socket.MSG_CMSG_CLOEXEC)
        fds = [
            int.from_bytes(content[i : i + 4], sys.byteorder)
            for level, kind, content in more
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            for i in range(0, len(content) - 3, 4)
        ]
        return self._view[:size], fds, flags


class OrdinaryCalls:
    """The ones that every Python has."""

    def close(self, fd: int) -> None:
        os.close(fd)

    def wake(self, event: int) -> None:
        os.eventfd_write(event, 1)

    def ring(self, fd: int) -> None:
        os.write(fd, b"!")

    def hush(self, fd: int) -> None:
        os.read(fd, 1)

    def watch(self, epoll: select.epoll, fd: int) -> None:
        epoll.register(fd, select.EPOLLIN)

    def unwatch(self, epoll: select.epoll, fd: int) -> None:
        epoll.unregister(fd)

    def send(self, sock: socket.socket, data: bytes) -> None:
        sock.send(data)

    def hint(self, sock: socket.socket, data: bytes) -> None:
        pass

    def mailbox(self, size: int) -> Mailbox:
        return _OrdinaryMailbox(size)

    def look(self, fd: int) -> int:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        seen = poll.poll(0)
        is_sure = sys.platform == "linux"  # that there is nothing before the end
        return seen[0][1] | (0 if is_sure else select.POLLIN) if seen else 0

    def glance(self, epoll: select.epoll) -> Callable[[], list[int]]:  # noqa: ARG002 - it would be a call more
        return list


def _best() -> Calls:
    if sys.platform == "linux":
        with contextlib.suppress(Exception):  # what forbids it: an audit hook, a strange ABI
            from ._libc import LibcCalls  # noqa: PLC0415 - ctypes may be missing

            return LibcCalls()
    return OrdinaryCalls()


CALLS: Calls = _best()
