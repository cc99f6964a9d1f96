"""Managers of one process share a loop and a keeper; the last one to close ends both."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from procvm import SubprocessBackend, VMConfig, VMManager, VMState

LONG = ["sleep", "1000"]


def content(path: Path) -> bytes:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return path.read_bytes()
    return b""  # a thread or a process that has ended since it was listed


def is_keeper(pid: int) -> bool:
    return content(Path(f"/proc/{pid}/cmdline")).startswith(b"procvm-keeper")


def keepers() -> list[int]:
    listed = [content(task / "children") for task in Path("/proc/self/task").iterdir()]
    return [pid for pids in listed for pid in map(int, pids.split()) if is_keeper(pid)]


def loops() -> int:
    return sum(thread.name == "procvm-reactor" for thread in threading.enumerate())


def test_two_managers_have_one_loop_and_one_keeper() -> None:
    with VMManager(SubprocessBackend("tree")) as first:
        assert (len(keepers()), loops()) == (0, 0)
        one = first.allocate(VMConfig("x", LONG))
        with (
            VMManager(SubprocessBackend("tree")) as second,
            VMManager(SubprocessBackend("group")) as third,
        ):
            other = second.allocate(VMConfig("x", LONG))
            third.allocate(VMConfig("x", LONG))
            assert (len(keepers()), loops()) == (1, 1)
            assert one.pid != other.pid
            assert [vm.pid for vm in first.list()] == [one.pid]
            assert second.reset("x").generation == 2
        assert (len(keepers()), loops()) == (1, 1)
        assert first.get("x") == one
        assert first.reset("x").state is VMState.RUNNING
    assert (len(keepers()), loops()) == (0, 0)


def test_a_keeper_that_dies_is_told_to_every_manager() -> None:
    with (
        VMManager(SubprocessBackend("tree")) as first,
        VMManager(SubprocessBackend("tree")) as second,
    ):
        for manager in (first, second):
            manager.allocate(VMConfig("x", LONG))
        os.kill(keepers()[0], 9)
        for manager in (first, second):
            assert "keeper" in manager.wait("x", VMState.FAILED, timeout=60).reason
            assert manager.reset("x").state is VMState.RUNNING
        assert len(keepers()) == 1


def test_managers_come_and_go_in_many_threads() -> None:
    def live(number: int) -> None:
        for _ in range(5):
            with VMManager(SubprocessBackend("tree" if number % 2 else "group")) as manager:
                assert manager.allocate(VMConfig("x", LONG)).state is VMState.RUNNING

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(live, range(8)))
    assert (len(keepers()), loops()) == (0, 0)


FORKING = """
import os
from procvm import SubprocessBackend, VMConfig, VMManager
manager = VMManager(SubprocessBackend("tree"))
vm = manager.allocate(VMConfig("x", ["sleep", "1000"]))
child = os.fork()
if child == 0:
    with VMManager(SubprocessBackend("tree")) as own:
        mine = own.allocate(VMConfig("x", ["sleep", "1000"]))
        ok = mine.pid != vm.pid
    os._exit(0 if ok else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert manager.get(vm).pid == vm.pid
assert manager.reset(vm).generation == 2
manager.close()
print("well")
"""


def test_a_forked_child_may_have_a_manager_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "well\n", done.stderr


BECOMING = """
import os
from procvm import SubprocessBackend, VMConfig, VMManager
with VMManager(SubprocessBackend("tree")) as manager:
    manager.allocate(VMConfig("before", ["sleep", "1000"]))
    os.setgroups([]); os.setegid(65534); os.seteuid(65534)
    vm = manager.allocate(VMConfig("after", ["sh", "-c", "id -u; id -g; id -G; sleep 1000"]))
    lines = manager.follow(vm)
    print([str(next(lines)) for _ in range(3)])
    os.seteuid(0)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another")
def test_a_host_that_becomes_another_starts_programs_as_that_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BECOMING], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "['65534', '65534', '65534']\n", done.stderr
