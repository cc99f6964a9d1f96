"""One subscriber: a bounded queue and a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from .._complaints import Complaints

__all__ = ["ThreadListener"]

_log = logging.getLogger("procvm")
_LONGEST = 10_000
_END = object()


class ThreadListener:
    """Calls back in order, off the loop; what does not fit is counted in ``lost``."""

    def __init__(self, callback: Callable[[Any], None], name: str) -> None:
        self._callback = callback
        self._queue: queue.Queue[Any] = queue.Queue(_LONGEST)
        self._is_stopped = False
        self.lost = 0
        self._complaints = Complaints()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Any) -> None:
        """Queue it, or count it as lost."""
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self.lost += 1
            if self.lost == 1:
                _log.warning("a subscriber is too slow: events are lost to it")

    def stop(self) -> None:
        """End the thread after what is queued."""
        if not self._is_stopped:
            self._is_stopped = True
            try:
                self._queue.put_nowait(_END)
            except queue.Full:
                self._callback = lambda _: None  # drop the rest quickly, then end
                threading.Thread(target=self._queue.put, args=(_END,), daemon=True).start()

    def join(self, timeout: float) -> None:
        """Wait until it has called back for the last time; from a callback of its own: not."""
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def _run(self) -> None:
        while (item := self._queue.get()) is not _END:
            try:
                self._callback(item)
            except Exception as e:  # noqa: BLE001 - one subscriber's failure is its own
                self._complaints.tell(item, e)
