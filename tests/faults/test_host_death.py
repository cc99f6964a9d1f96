"""Deaths of the host: nothing that can be found of its VMs outlives it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from looking import until


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
            until(lambda: not marked(vm_id))
            assert (host.poll() is None) == (death == "self")
        finally:
            host.kill()
            if int(worker):
                os.kill(int(worker), signal.SIGKILL)


POLITE = """
import signal, sys, time
from procvm import SubprocessBackend, VMConfig, VMManager

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
with VMManager(SubprocessBackend(sys.argv[1])) as manager:
    trap = "trap 'echo polite > $0; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    vm = manager.allocate(VMConfig("x", ["sh", "-c", trap, sys.argv[2]]))
    next(manager.follow(vm))
    print(flush=True)
    while True:
        time.sleep(0.05)
"""


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_52_a_host_that_makes_its_sigterm_an_exit_asks_its_vms(
    containment: str, tmp_path: Path
) -> None:
    flag = tmp_path / "polite"
    with subprocess.Popen(
        [sys.executable, "-c", POLITE, containment, str(flag)], stdout=subprocess.PIPE
    ) as host:
        assert host.stdout is not None
        host.stdout.readline()
        host.terminate()
        assert host.wait(60) == 143
    assert flag.read_text() == "polite\n"


ALLOCATING = """
import sys
from procvm import *
manager = VMManager(SubprocessBackend(sys.argv[1]))
print(flush=True)
for number in range(500):  # no more: a look at all of them takes ever longer
    vm = manager.allocate(VMConfig(str(number), ["sleep", "1000"], env={"MADE_BY": sys.argv[2]}))
    if number >= 100:
        manager.remove(vm)
import time; time.sleep(1000)
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
            until(partial(carrying, mark), pause=0)  # it has begun to
            time.sleep(0.0007 * number)  # any moment of one that follows
            assert helpers_of(host.pid)
            host.kill()
        until_helped(host.pid)
        assert carrying(mark) == []


def until_helped(host: int) -> None:
    """Wait until the keeper or guard of a dead host has ended: they do when nothing is left.

    To look for its programs alone is too early: one that is about to exec shows no mark yet.
    """
    until(lambda: not helpers_of(host))


def helpers_of(host: int) -> list[str]:
    """Return those whose last word is the number of the host that they watch."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[-2:] == [str(host).encode(), b""]:
                found.append(entry.name)
    return found


SLOW = """
import os, sys, time
from procvm import *
from procvm.backends.subprocess import _group

def slow(argv, executable, env, **more):
    if os.fork() == 0:  # as the kernel may do: the child waits long before its exec
        os.setsid()
        os.closerange(0, 100)
        time.sleep(2)
        os.execve(executable, argv, env)
    time.sleep(1000)

manager = VMManager(SubprocessBackend("group"))
manager.allocate(VMConfig("first", ["sleep", "1000"], env={"MADE_BY": sys.argv[1]}))
_group.subprocess.Popen = slow
print(flush=True)
manager.allocate(VMConfig("second", ["sleep", "1000"], env={"MADE_BY": sys.argv[2]}))
"""


def test_51_a_start_that_is_long_before_its_exec_is_taken_away_as_well() -> None:
    first, second = uuid.uuid4().hex, uuid.uuid4().hex
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, first, second], stdout=subprocess.PIPE
    ) as host:
        assert host.stdout is not None
        host.stdout.readline()
        (copy,) = until(lambda: copies_of(host.pid))  # it has forked
        host.kill()
        host.wait()
    until_helped(host.pid)
    assert carrying(first) == carrying(second) == []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # init has collected it
        assert Path(f"/proc/{copy}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"


def copies_of(pid: int) -> list[str]:
    """Return its children that execute what it does, with its words."""
    words, found = Path(f"/proc/{pid}/cmdline").read_bytes(), []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            born = [Path("/proc", pid) for pid in listed.read_text().split()]
            found += [one.name for one in born if (one / "cmdline").read_bytes() == words]
    return found


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


HELPED = """
import sys
from procvm import SubprocessBackend, VMConfig, VMManager
manager = VMManager(SubprocessBackend(sys.argv[1]))
vm = manager.allocate(VMConfig("x", ["sh", "-c", "setsid sleep 1000 & sleep 1000"]))
print(vm.vm_id, flush=True)
sys.stdin.readline()
"""


@contextlib.contextmanager
def helped(containment: str) -> Iterator[tuple[str, str]]:
    """A host that runs a tree: its VM's id and its helper, which waits; killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", HELPED, containment],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as host:  # fmt: skip
        assert host.stdout is not None
        vm_id = host.stdout.readline().strip()
        until(lambda: len(marked(vm_id)) >= 3)
        (helper,) = helpers_of(host.pid)
        until(lambda: is_listening(helper))
        yield vm_id, helper
        host.kill()
    until_helped(host.pid)
    assert marked(vm_id) == []


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_51_65_a_helper_that_is_stopped_hears_the_end_of_its_host(containment: str) -> None:
    with helped(containment) as (_, helper):
        os.kill(int(helper), signal.SIGSTOP)
        until(lambda: state_of(helper) == "T")


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_65_a_helper_that_is_continued_goes_on(containment: str) -> None:
    with helped(containment) as (vm_id, helper):
        for _ in range(5):
            os.kill(int(helper), signal.SIGSTOP)
            until(lambda: state_of(helper) == "T")
            os.kill(int(helper), signal.SIGCONT)
            until(lambda: state_of(helper) == "S")
        assert len(marked(vm_id)) >= 3


def test_51_65_a_guard_that_is_killed_is_followed_by_another_that_knows_all() -> None:
    """The host dies afterwards, and starts nothing meanwhile."""
    with helped("group") as (vm_id, first):
        host = int(Path(f"/proc/{first}/cmdline").read_bytes().split(b"\0")[-2])
        for _ in range(2):  # the next one has lived less than a second
            (guard,) = helpers_of(host)
            os.kill(int(guard), signal.SIGKILL)
            until(partial(another_helper, host, guard))
        assert len(marked(vm_id)) >= 3


def another_helper(host: int, first: str) -> list[str]:
    return [one for one in helpers_of(host) if one != first]


def state_of(pid: str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def is_listening(pid: str) -> bool:
    """Tell whether it has said what SIGCONT is to do: it has begun, and waits (SigCgt of proc)."""
    caught = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0]
    return bool(int(caught, 16) >> (signal.SIGCONT - 1) & 1) and state_of(pid) == "S"
