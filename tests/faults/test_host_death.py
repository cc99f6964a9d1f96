"""Deaths of the host: nothing that can be found of its VMs outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest


def marked(vm_id: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environ = (entry / "environ").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if f"PROCVM_VM={vm_id}".encode() in environ and state not in "ZX":
                found.append(int(entry.name))
    return found


PROGRAM = """
import multiprocessing, os, signal, sys, time
from procvm import SubprocessBackend, VMConfig, VMManager

again = "import time; time.sleep(1000)"

def main():
    manager = VMManager(SubprocessBackend(sys.argv[2]))
    tree = "sleep 1000 & setsid sleep 1000 & echo up; wait"
    vm = manager.allocate(VMConfig("x", ["sh", "-c", tree]))
    next(iter(manager.follow(vm)))
    if sys.argv[1] == "worker":
        worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,))
        worker.start()
        print(vm.vm_id, worker.pid, flush=True)
    else:
        print(vm.vm_id, 0, flush=True)
    sys.stdin.readline()
    ends = {
        "exit": lambda: os._exit(3),
        "self": lambda: os.execv(sys.executable, [sys.executable, "-c", again]),
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "raise": lambda: 1 / 0,
        "sysexit": lambda: sys.exit(3),
    }
    ends.get(sys.argv[1], lambda: time.sleep(100))()

main()
"""


@pytest.mark.parametrize(
    "death", ["kill", "term", "int", "segv", "exit", "exec", "self", "raise", "sysexit", "worker"]
)
@pytest.mark.parametrize("containment", ["tree", "group"])
def test_51_52_nothing_outlives_its_host(death: str, containment: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, death, containment],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as host:  # fmt: skip
        assert host.stdout is not None
        assert host.stdin is not None
        vm_id, worker = host.stdout.readline().split()
        assert marked(vm_id)
        sent = {
            "kill": signal.SIGKILL,
            "term": signal.SIGTERM,
            "int": signal.SIGINT,
            "segv": signal.SIGSEGV,
        }
        try:
            if death in sent or death == "worker":
                host.send_signal(sent.get(death, signal.SIGKILL))
                host.stdin.close()  # a signal just before the read does not end it
            else:
                host.stdin.write("\n")
                host.stdin.flush()
            if death != "self":  # the same process, living on as another program
                host.wait(60)
            deadline = time.monotonic() + 30
            while marked(vm_id) and time.monotonic() < deadline:
                time.sleep(0.01)  # the guard is nobody's child now: there is no event to wait for
            assert marked(vm_id) == []
            assert (host.poll() is None) == (death == "self")
        finally:
            host.kill()
            if int(worker):
                os.kill(int(worker), signal.SIGKILL)


ALLOCATING = """
import sys
from procvm import *
manager = VMManager(SubprocessBackend(sys.argv[1]))
print(flush=True)
for number in range(100_000):
    vm = manager.allocate(VMConfig(str(number), ["sleep", "1000"], env={"MADE_BY": sys.argv[2]}))
"""


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_51_a_host_killed_while_it_allocates_leaves_nothing(
    containment: str,
) -> None:
    for number in range(8):
        mark = uuid.uuid4().hex
        with subprocess.Popen(
            [sys.executable, "-c", ALLOCATING, containment, mark], stdout=subprocess.PIPE
        ) as host:
            assert host.stdout is not None
            host.stdout.readline()
            deadline = time.monotonic() + 30
            while not carrying(mark) and time.monotonic() < deadline:
                pass  # until it has begun to
            time.sleep(0.0007 * number)  # any moment of one that follows
            host.kill()
        deadline = time.monotonic() + 30
        while carrying(mark) and time.monotonic() < deadline:
            time.sleep(0.01)  # nobody's child: there is no event to wait for
        assert carrying(mark) == []


def carrying(mark: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"MADE_BY={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(entry.name)
            except OSError:
                continue
    return found
