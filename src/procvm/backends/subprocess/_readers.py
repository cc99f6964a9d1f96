"""Threads that do for the loop what may block: whatever is done to a pipe or to a log file.

A pipe that does not block does so all the same while somebody holds its mutex in the kernel: a
program in splice(2) from a silent socket into its own standard output, or in a write(2) of memory
that has to come from a slow disk. Nothing can interrupt such a wait, not even SIGKILL.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from ..base import Timer
from ._holds import Reactor

__all__ = ["Readers"]

_log = logging.getLogger("procvm")
_STANDSTILL = 0.02  # seconds in which no job ends, while others wait: the threads are stuck
_MOST = 64
_PATIENCE = 1.0  # seconds: whoever still is stuck at the end ends by himself, some time

_T = TypeVar("_T")
_Job = tuple[Callable[[], Any], Callable[[Any], None]]


class Readers:
    """One thread, begun with the first job, and one more whenever all of them are stuck."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._open = self._finished = 0
        self._timer: Timer | None = None
        self._is_over = False

    def ask(self, job: Callable[[], _T], then: Callable[[_T | None], None]) -> None:
        """Loop: do ``job`` in a thread, then ``then`` in the loop; it gets None for an error."""
        if self._is_over or not (self._threads or self._begin()):  # no thread is left: do it here
            self._open += 1
            self._reactor.post(partial(self._finish, then, _done(job)))
            return
        self._open += 1
        self._jobs.put((job, then))
        self._look()

    def do(self, job: Callable[[], object]) -> None:
        """Loop: do ``job`` in a thread, and tell nobody."""
        self.ask(job, _nothing)

    def close_pipe(self, fd: int) -> None:
        """Loop: close the last descriptor of a pipe that may be held."""
        self.do(partial(os.close, fd))

    def prepare(self) -> None:
        """Loop: begin the first thread."""
        if not (self._threads or self._is_over):
            self._begin()

    def _begin(self) -> bool:
        thread = threading.Thread(target=self._work, name="procvm-reader", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._threads.append(thread)
        return True

    def _look(self) -> None:
        """See in a moment whether somebody waits in vain."""
        if self._open > len(self._threads) and self._timer is None and not self._is_over:
            before = self._finished
            self._timer = self._reactor.call_later(_STANDSTILL, lambda: self._judge(before))

    def _judge(self, before: int) -> None:
        self._timer = None
        waits = self._open > len(self._threads)
        if waits and self._finished == before and len(self._threads) < _MOST:
            self._begin()
        self._look()

    def _work(self) -> None:
        while (one := self._jobs.get()) is not None:
            job, then = one
            self._reactor.post(partial(self._finish, then, _done(job)))
            del one, job, then  # what they hold is not kept while there is nothing to do
        self._jobs.put(None)  # for one that was begun since they were counted

    def _finish(self, then: Callable[[Any], None], result: Any) -> None:
        self._open -= 1
        self._finished += 1
        then(result)

    def close(self) -> None:
        """Any thread: end them after what was asked; again goes on with it."""
        self._is_over = True
        end = time.monotonic() + _PATIENCE
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))


def _done(job: Callable[[], Any]) -> Any:
    try:
        return job()
    except BaseException:  # noqa: BLE001 - memory is short, say: the thread goes on
        _log.exception("procvm: a call beside the loop failed")
        return None


def _nothing(_: object) -> None:
    return
