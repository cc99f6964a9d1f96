"""How fast a program may write: MB/s into a VM's pipe, with and without a busy Python thread.

Run as ``python -m benchmarks.flood [megabytes]``; prints a Markdown table. "small pipes" is the
same backend when it may lend no large ones.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from procvm import SubprocessBackend, VMConfig, VMManager
from procvm.backends.subprocess import _floods

ROUNDS = 3


@contextmanager
def busy(*, wanted: bool) -> Iterator[None]:
    """A thread of the host that computes without pause."""
    over = threading.Event()

    def compute() -> None:
        number = 1
        while not over.is_set():
            for _ in range(1000):
                number = number * 31 % 65537

    thread = threading.Thread(target=compute)
    if wanted:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if wanted:
            thread.join()


def flood(manager: VMManager, megabytes: int) -> float:
    """Return the MB/s that a program got rid of."""
    words = ["dd", "if=/dev/zero", "bs=4096", f"count={megabytes * 256}", "status=none"]
    vm = manager.allocate(VMConfig("flood", words))
    began = time.perf_counter()
    ended = manager.wait(vm)
    took = time.perf_counter() - began
    assert ended.exit is not None
    assert ended.exit.code == 0, ended
    manager.remove(vm)
    return megabytes * 1.048576 / took


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print("| pipes | host | MB/s |\n| --- | --- | --- |")
    most = _floods._MOST_LENT
    with VMManager(SubprocessBackend()) as manager:
        for pipes, lent in (("small pipes", 0), ("as they are", most)):
            for is_busy in (False, True):
                _floods._MOST_LENT = lent
                with busy(wanted=is_busy):
                    found = [flood(manager, megabytes) for _ in range(ROUNDS)]
                host = "a busy Python thread" if is_busy else "quiet"
                print(f"| {pipes} | {host} | {statistics.median(found):.0f} |")


if __name__ == "__main__":
    main()
