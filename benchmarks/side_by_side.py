"""What procvm costs beside the bare call, interleaved in one run.

Run as ``python -m benchmarks.side_by_side [rounds]``; prints Markdown tables. Starts have two
modes, as the new program and its starter may meet on one core: compare lower quartiles.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict

from procvm import FakeBackend, SubprocessBackend, VMConfig, VMManager, protocol

SLEEP = ["sleep", "1000"]
SWITCH = 0.02
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
    manager.reset("vm")
    again = time.perf_counter()
    manager.remove("vm")
    stopped = time.perf_counter()
    figures[f"{name}: start"].append(started - begin)
    figures[f"{name}: reset"].append(again - started)
    figures[f"{name}: stop"].append(stopped - again)
    vm = manager.allocate(config)
    assert vm.pid is not None
    killed = time.perf_counter()
    os.kill(vm.pid, signal.SIGKILL)
    manager.wait(vm)
    figures[f"{name}: exit seen"].append(time.perf_counter() - killed)
    manager.remove(vm)


def envelope(rounds: int = 2000) -> None:
    """Ask a fake through the envelope: in a loop of its own, as nothing else is in it."""
    config = {"name": "vm", "path": ".", "command": "sleep 1000"}
    figures: Figures = defaultdict(list)
    with VMManager(FakeBackend()) as fake:
        dispatcher = protocol.Dispatcher(fake)
        for _ in range(rounds):
            for method, args in (
                ("allocate_vm", {"config": config}), ("get_vms", {}), ("get_health", {}),
                ("reset_vm", {"vm_id": "vm"}), ("remove_vm", {"vm_id": "vm"}),
            ):  # fmt: skip
                request = {"method": method, "args": args, "timestamp": time.time()}
                begin = time.perf_counter()
                dispatcher.handle(request)
                figures[method].append(time.perf_counter() - begin)
    for method, values in figures.items():
        print(f"| envelope on a fake, {method}, µs | {statistics.median(values) * 1e6:.0f} |")


def pairs(rounds: int) -> None:
    """Measure each containment in turn with the bare call: a program has one of the two."""
    print("| what | lower quartile ms | median ms | over Popen ms |\n| --- | --- | --- | --- |")
    for kind in ("tree", "group"):
        figures: Figures = defaultdict(list)
        with VMManager(SubprocessBackend(kind)) as manager:
            for _ in range(rounds):
                popen(figures)
                procvm(figures, kind, manager)
        medians = {name: statistics.median(values) for name, values in figures.items()}
        start, stop = medians["Popen: start"], medians["Popen: stop"]
        bare = {"start": start, "stop": stop, "reset": start + stop, "exit seen": 0.0}
        for name, values in figures.items():
            who, verb = name.split(": ")
            quartile = sorted(values)[len(values) // 4]
            more = "" if who == "Popen" else f"{(medians[name] - bare[verb]) * 1e3:+.3f}"
            told = f"Popen beside {kind}: {verb}" if who == "Popen" else name
            print(f"| {told} | {quartile * 1e3:.3f} | {medians[name] * 1e3:.3f} | {more} |")


def handovers(rounds: int = 30) -> None:
    """Count how often a verb has to wait for the lock, beside a thread that computes.

    With a switch interval of 20 ms everything else that a verb does takes no time beside that.
    """
    ended = threading.Event()

    def compute() -> None:
        while not ended.is_set():
            pass

    figures: Figures = defaultdict(list)
    by_path = [shutil.which(SLEEP[0]) or SLEEP[0], *SLEEP[1:]]
    usual = sys.getswitchinterval()
    with VMManager(SubprocessBackend("tree")) as manager:
        manager.allocate(VMConfig("first", SLEEP))
        thread = threading.Thread(target=compute)
        thread.start()
        try:
            sys.setswitchinterval(SWITCH)
            for _ in range(rounds):
                for verb, call in (
                    ("allocate, by name", lambda: manager.allocate(VMConfig("vm", SLEEP))),
                    ("reset, by name", lambda: manager.reset("vm")),
                    ("remove", lambda: manager.remove("vm")),
                    ("allocate, by path", lambda: manager.allocate(VMConfig("vm", by_path))),
                    ("reset, by path", lambda: manager.reset("vm")),
                    ("remove", lambda: manager.remove("vm")),
                    ("Popen", lambda: popen(defaultdict(list))),
                ):
                    begin = time.perf_counter()
                    call()
                    figures[verb].append((time.perf_counter() - begin) / SWITCH)
        finally:
            sys.setswitchinterval(usual)
            ended.set()
            thread.join()
    figures["Popen, killpg and wait"] = figures.pop("Popen")
    for verb, values in figures.items():
        mean, median = statistics.fmean(values), statistics.median(values)
        words = "waits for the lock beside a thread that computes: mean (median)"
        print(f"| {verb}, {words} | {mean:.1f} ({median:.1f}) |")


def cpu_of(*tasks: str) -> float:
    """Return seconds on a processor of these tasks of /proc, to the nanosecond."""
    total = 0
    for task in tasks:
        with open(f"/proc/{task}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def many(number: int = 200) -> None:
    configs = [VMConfig(f"vm{i}", SLEEP) for i in range(number)]
    with VMManager(SubprocessBackend("tree")) as manager:
        pid = manager.allocate(VMConfig("first", SLEEP)).pid
        with open(f"/proc/{pid}/stat") as file:
            keeper = file.read().rpartition(")")[2].split()[1]
        begin = time.perf_counter()
        manager.allocate_all(configs)
        print(f"| tree: starts a second, {number} side by side | "
              f"{number / (time.perf_counter() - begin):.0f} |")  # fmt: skip
        time.sleep(1)
        tasks = [keeper, *(f"self/task/{task}" for task in os.listdir("/proc/self/task"))]
        before = cpu_of(*tasks)
        time.sleep(10)
        idle = cpu_of(*tasks) - before
        print(f"| tree: CPU ms in 10 idle s, {number} VMs, host and keeper | {idle * 1e3:.2f} |")
        with open(f"/proc/{keeper}/statm") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        print(f"| tree: resident MB of the keeper, {number} VMs | {resident:.1f} |")
        begin = time.perf_counter()
    print(f"| tree: close of {number}, s | {time.perf_counter() - begin:.3f} |")


def fakes(number: int = 100_000) -> None:
    with VMManager(FakeBackend()) as manager:
        begin = time.perf_counter()
        for i in range(number):
            manager.allocate(VMConfig(f"vm{i}", SLEEP))
        print(f"| {number:,} fakes: allocate all, s | {time.perf_counter() - begin:.1f} |")
        begin = time.perf_counter()
        for _ in range(1000):
            manager.health()
        print(f"| {number:,} fakes: health(), µs | {(time.perf_counter() - begin) * 1e3:.1f} |")


def imports(rounds: int = 20) -> None:
    figures: Figures = defaultdict(list)
    for _ in range(rounds):
        for code in ("import attrs, subprocess, selectors", "import procvm"):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            figures[code].append(time.perf_counter() - begin)
    base, ours = (statistics.median(values) for values in figures.values())
    print(f"| import procvm, beside attrs, subprocess and selectors | {ours / base:.2f} |")


def main() -> None:
    pairs(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
    print("\n| what | figure |\n| --- | --- |")
    handovers()
    many()
    envelope()
    fakes()
    imports()


if __name__ == "__main__":
    main()
