"""What a process tree uses, through psutil; what ended meanwhile counts nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

from ...facts import Usage

__all__ = ["UsageMeter"]

_NOTHING = Usage(0.0, None, 0, 0, 0, 0)


class UsageMeter:
    """Remembers the last reading of each key, so that a percentage can be told."""

    def __init__(self) -> None:
        self._last: dict[Any, tuple[float, float]] = {}

    def read(self, key: Any, pids: Iterable[int]) -> Usage:
        """Return what the processes use now, and off Linux everything below them."""
        import psutil  # noqa: PLC0415 - 31 ms that a plain start does not need

        family: dict[int, Any] = {}
        for pid in pids:
            try:
                family[pid] = main = psutil.Process(pid)
                if sys.platform != "linux":  # there the holder has found them all
                    family |= {one.pid: one for one in main.children(recursive=True)}
            except psutil.Error:
                continue
        if not family:
            return _NOTHING
        cpu, memory, threads, files, count = 0.0, 0, 0, 0, 0
        for one in family.values():
            try:
                with one.oneshot():
                    times = one.cpu_times()
                    cpu += times.user + times.system
                    memory += one.memory_info().rss
                    threads += one.num_threads()
                    count += 1
                files += one.num_fds()
            except (psutil.Error, OSError):
                continue
        now = time.monotonic()
        before = self._last.get(key)
        self._last[key] = (now, cpu)
        percent = None
        if before is not None and now > before[0]:
            percent = max(0.0, 100.0 * (cpu - before[1]) / (now - before[0]))
        return Usage(cpu, percent, memory, threads, count, files)

    def forget(self, key: Any) -> None:
        """Forget the last reading."""
        self._last.pop(key, None)
