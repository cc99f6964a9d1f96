"""Start, stop and see an exit: subprocess.Popen beside procvm, interleaved in one run.

Run as ``python -m benchmarks.side_by_side [rounds]``; prints medians as a Markdown table.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict

from procvm import FakeBackend, SubprocessBackend, VMConfig, VMManager, protocol

SLEEP = ["sleep", "1000"]
Figures = dict[str, list[float]]


def popen(figures: Figures) -> None:
    begin = time.perf_counter()
    null = subprocess.DEVNULL
    process = subprocess.Popen(SLEEP, stdin=null, stdout=null, stderr=null, start_new_session=True)
    started = time.perf_counter()
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()
    figures["Popen: start"].append(started - begin)
    figures["Popen: stop"].append(time.perf_counter() - started)


def procvm(figures: Figures, name: str, manager: VMManager) -> None:
    config = VMConfig("vm", SLEEP)
    begin = time.perf_counter()
    manager.allocate(config)
    started = time.perf_counter()
    manager.remove("vm")
    stopped = time.perf_counter()
    vm = manager.allocate(config)
    assert vm.pid is not None
    killed = time.perf_counter()
    os.kill(vm.pid, signal.SIGKILL)
    manager.wait(vm)
    figures[f"{name}: exit seen"].append(time.perf_counter() - killed)
    manager.remove(vm)
    figures[f"{name}: start"].append(started - begin)
    figures[f"{name}: stop"].append(stopped - started)


def envelope(figures: Figures, dispatcher: protocol.Dispatcher) -> None:
    begin = time.perf_counter()
    dispatcher.handle({"method": "get_health", "timestamp": time.time()})
    figures["envelope: get_health on a fake"].append(time.perf_counter() - begin)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    figures: Figures = defaultdict(list)
    with (
        VMManager(SubprocessBackend("group")) as group,
        VMManager(SubprocessBackend("tree")) as tree,
        VMManager(FakeBackend()) as fake,
    ):
        dispatcher = protocol.Dispatcher(fake)
        for _ in range(rounds):
            popen(figures)
            procvm(figures, "group", group)
            procvm(figures, "tree", tree)
            envelope(figures, dispatcher)
    print("| what | median ms | lower quartile ms |\n| --- | --- | --- |")
    for name, values in sorted(figures.items()):
        ordered = sorted(values)
        quartile = ordered[len(ordered) // 4]
        print(f"| {name} | {statistics.median(values) * 1e3:.3f} | {quartile * 1e3:.3f} |")


if __name__ == "__main__":
    main()
