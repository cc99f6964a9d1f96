"""Which processors a program that is started here can be given."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection

__all__ = ["processors_for"]

_ALL = range(2**16)  # the kernel leaves out what it does not have


def processors_for(wanted: Collection[int]) -> frozenset[int] | None:
    """Return the processors that can be had, as far as ``wanted`` needs it known; None: unknown.

    The kernel itself is asked, as it alone knows what is there, is online and is not forbidden
    by a cpuset; of a set that is asked for it leaves out the rest, and says nothing. What this
    process runs on may be less, see taskset(1), and a program may be given more.
    """
    try:
        own = os.sched_getaffinity(os.getpid())
    except OSError:
        own = set()
    if own.issuperset(wanted):
        return frozenset(own)
    found: list[set[int]] = []

    def ask() -> None:
        try:
            os.sched_setaffinity(0, _ALL)  # of this thread alone, which ends
            found.append(os.sched_getaffinity(0))
        except OSError:
            pass  # it may not be asked here: then the start itself tells

    thread = threading.Thread(target=ask, name="procvm-processors", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # there is no room for a thread
        return None
    thread.join()
    return frozenset(found[0]) if found else None
