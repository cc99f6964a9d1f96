"""Waits for descriptors to be readable, and may be woken from any thread."""

from __future__ import annotations

import os
import select
from typing import Protocol

from ._calls import CALLS

__all__ = ["Poller", "make_poller"]


class Poller(Protocol):
    """What the loop waits with; everything but ``wake`` is the loop's alone."""

    def add(self, fd: int) -> None:
        """Watch ``fd`` until it is removed (level-triggered)."""

    def remove(self, fd: int) -> None:
        """Watch it no more; do so before it is closed."""

    def wait(self, timeout: float | None) -> list[int]:
        """Return the watched descriptors that are readable or hung up."""

    def wake(self) -> None:
        """End the present wait, or the next; never blocks; of one that is closed it is silent."""

    def close(self) -> None:
        """Close its own descriptors; in a forked child too, where nothing may be removed."""


class EpollPoller:
    """epoll(7), woken by an eventfd(2).

    The eventfd is edge-triggered and never read: a read would hand over the interpreter lock
    once more, which costs 5 ms beside a thread that computes.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._event, select.EPOLLIN | select.EPOLLET)

        self._glance = CALLS.glance(self._epoll)

    def add(self, fd: int) -> None:
        CALLS.watch(self._epoll, fd)

    def remove(self, fd: int) -> None:
        CALLS.unwatch(self._epoll, fd)

    def wait(self, timeout: float | None) -> list[int]:
        own = self._event
        found = self._glance() or [fd for fd, _ in self._epoll.poll(timeout)]
        return [fd for fd in found if fd != own]

    def wake(self) -> None:
        if self._event >= 0:
            CALLS.wake(self._event)

    def close(self) -> None:
        self._epoll.close()
        event, self._event = self._event, -1
        os.close(event)


class PollPoller:
    """poll(2), woken by a pipe, for systems without epoll."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._read, self._write = os.pipe()
        for fd in (self._read, self._write):
            os.set_blocking(fd, False)
        self._poll.register(self._read, select.POLLIN)

    def add(self, fd: int) -> None:
        self._poll.register(fd, select.POLLIN)

    def remove(self, fd: int) -> None:
        self._poll.unregister(fd)

    def wait(self, timeout: float | None) -> list[int]:
        found = self._poll.poll(None if timeout is None else timeout * 1000)
        fds = [fd for fd, _ in found if fd != self._read]
        if len(fds) != len(found):
            os.read(self._read, 65536)
        return fds

    def wake(self) -> None:
        try:
            if self._write >= 0:
                os.write(self._write, b"\0")
        except BlockingIOError:
            pass  # full: it wakes anyway

    def close(self) -> None:
        read, write, self._read, self._write = self._read, self._write, -1, -1
        os.close(read)
        os.close(write)


def make_poller() -> Poller:
    """Return the best that this system has."""
    return EpollPoller() if hasattr(select, "epoll") else PollPoller()
