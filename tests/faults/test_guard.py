"""The guard of "group": it costs a start nothing, and knows everything when it has to."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from procvm import SubprocessBackend, VMConfig, VMManager
from procvm.backends.subprocess._guard import Guard, ticks
from procvm.backends.subprocess._members import start_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")

LONG = 60.0


@pytest.fixture
def guard() -> Iterator[Guard]:
    guard = Guard()
    guard.begin()
    yield guard
    guard.close()


@pytest.fixture
def program() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        yield process
        process.kill()


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.strip() for name, _, rest in (line.partition(":") for line in lines)}


def process_of(guard: Guard) -> subprocess.Popen[bytes]:
    assert guard._process is not None
    return guard._process


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def lives(guard: Guard, program: subprocess.Popen[bytes], count: int) -> None:
    for number in range(count):
        vm_id = f"{number:032x}"
        guard.expect(vm_id)
        guard.keep(program.pid, vm_id, ticks())
        guard.let_go(vm_id)


def is_told(guard: Guard, program: subprocess.Popen[bytes]) -> bool:
    if guard._untold:
        lives(guard, program, 1)  # what waits is told with what comes next
    return not guard._untold


def test_the_time_of_a_start_is_known_without_a_look(program: subprocess.Popen[bytes]) -> None:
    guard = Guard()
    guard.begin()
    try:
        assert guard._knows_clock
    finally:
        guard.close()
    for _ in range(20):
        since = ticks()
        with subprocess.Popen(["true"]) as process:
            until_now = ticks()
            began = start_of(process.pid)
        assert began is None or since <= began <= until_now <= since + 100


def test_it_sleeps_while_programs_are_started_and_removed() -> None:
    with VMManager(SubprocessBackend("group")) as manager:
        manager.remove(manager.allocate(VMConfig("vm", ["sleep", "1000"])))
        (pid,) = [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if b"_guard_program" in said(path)
            and int(status(int(path.parent.name))["PPid"]) == os.getpid()
        ]
        until(lambda: status(pid)["State"].startswith("S"))
        before = status(pid)["voluntary_ctxt_switches"]
        for _ in range(20):
            manager.remove(manager.allocate(VMConfig("vm", ["sleep", "1000"])))
        assert status(pid)["voluntary_ctxt_switches"] == before


def said(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_its_pipe_does_not_fill(guard: Guard, program: subprocess.Popen[bytes]) -> None:
    for _ in range(10):  # each more than the pipe holds
        lives(guard, program, 600)
        until(lambda: is_told(guard, program))
    assert process_of(guard).poll() is None


def test_a_small_pipe_is_read_when_it_is_full(
    guard: Guard, program: subprocess.Popen[bytes]
) -> None:
    """As a user's who has many: what is said is told at once, and not with the next start."""
    assert guard._pipe is not None
    until(lambda: status(process_of(guard).pid)["State"].startswith("S"))
    assert guard._most_unread == fcntl.fcntl(guard._pipe, fcntl.F_GETPIPE_SZ) // 4
    fcntl.fcntl(guard._pipe, fcntl.F_SETPIPE_SZ, 4096)
    for _ in range(300):
        lives(guard, program, 1)
        assert not guard._untold


def test_one_that_is_stopped_holds_nobody_up_and_is_continued(
    guard: Guard, program: subprocess.Popen[bytes]
) -> None:
    process = process_of(guard)
    os.kill(process.pid, signal.SIGSTOP)
    until(lambda: status(process.pid)["State"].startswith("T"))
    lives(guard, program, 3000)
    until(lambda: not status(process.pid)["State"].startswith("T"))
    until(lambda: is_told(guard, program))


HOST = """
import os, signal
from procvm import SubprocessBackend, VMConfig, VMManager
manager = VMManager(SubprocessBackend("group"))
for _ in range(250):
    manager.remove(manager.allocate(VMConfig("vm", ["true"])))
vm = manager.allocate(VMConfig("vm", ["sleep", "1000"], env={}, inherit_env=["PATH"]))
print(vm.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_many_starts_it_still_takes_away_the_last() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOST], timeout=100, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    until(lambda: start_of(int(done.stdout)) is None)
