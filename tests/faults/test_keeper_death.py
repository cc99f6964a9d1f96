"""The keeper is killed, stopped, terminated or talks nonsense: nothing is left, all is told."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tags_seen import tag_of, tagged

from procvm import ProcVMError, SubprocessBackend, VMConfig, VMManager, VMState

TREE = ["sh", "-c", "setsid env -i sleep 1000 & sleep 1000 & echo up; sleep 1000"]


@pytest.fixture
def manager() -> Iterator[VMManager]:
    with VMManager(SubprocessBackend("tree")) as made:
        yield made


def keeper() -> int:
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"procvm-keeper"):
                return int(pid)
    raise AssertionError("there is no keeper")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_65_a_keeper_that_dies_leaves_nothing(manager: VMManager, end: int) -> None:
    vm = manager.allocate(VMConfig("x", TREE))
    next(iter(manager.follow(vm)))
    tag = tag_of(vm.pid)
    assert tag is not None
    os.kill(keeper(), end)
    lost = manager.wait(vm, VMState.FAILED, timeout=60)
    assert "keeper" in lost.reason
    assert lost.exit is None or lost.exit.is_lost
    assert tagged(tag) == set()
    assert manager.reset(vm).state is VMState.RUNNING
    assert manager.allocate(VMConfig("y", ["sleep", "1000"])).state is VMState.RUNNING


def test_65_a_policy_restarts_what_a_keeper_lost(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", ["sleep", "1000"], restart="always"))
    os.kill(keeper(), signal.SIGKILL)
    again = manager.wait(vm, lambda now: now.generation == 2 and now.pid is not None, timeout=60)
    assert again.restarts == 1


def test_65_a_keeper_that_is_stopped_is_continued(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", ["sleep", "1000"]))
    os.kill(keeper(), signal.SIGSTOP)
    assert manager.allocate(VMConfig("y", ["sleep", "1000"])).state is VMState.RUNNING
    assert manager.remove(vm).state is VMState.REMOVED


def test_65_a_keeper_that_dies_in_the_middle_of_verbs(manager: VMManager) -> None:
    manager.allocate(VMConfig("first", ["sleep", "1000"]))
    for number in range(5):
        pid = keeper()
        killer = threading.Timer(0.0004 * number, os.kill, (pid, signal.SIGKILL))
        killer.start()
        try:
            vm = manager.allocate(VMConfig(f"vm{number}", ["sleep", "1000"]))
            manager.remove(vm)
        except ProcVMError:
            pass  # it may fail; it may not hang, or leave anything
        killer.join()
        manager.reset("first")
    assert [vm.name for vm in manager.list()] == ["first"]
