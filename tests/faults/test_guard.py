"""The guard of "group": it costs a start nothing, and knows everything when it has to."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from looking import until

from procvm import SubprocessBackend, VMConfig, VMManager
from procvm.backends.fake._clock import Clock, FakeTimer
from procvm.backends.subprocess import _guard
from procvm.backends.subprocess._group import GroupHolder
from procvm.backends.subprocess._guard import Guard, ticks
from procvm.backends.subprocess._members import start_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")

LONG = 60.0


class Loop:
    """A loop that does what it is told to, when it is told to."""

    def __init__(self) -> None:
        self.ready: dict[int, Callable[[], object]] = {}
        self.later: list[Callable[[], None]] = []
        self.delays: list[float] = []
        self.monotonic = time.monotonic

    def register(self, fd: int, ready: Callable[[], object]) -> None:
        self.ready[fd] = ready

    def unregister(self, fd: int) -> None:
        del self.ready[fd]

    def call_later(self, delay: float, call: Callable[[], None]) -> FakeTimer:
        self.later.append(call)
        self.delays.append(delay)
        return Clock().call_later(delay, call)

    def post(self, call: Callable[[], None]) -> None:
        raise AssertionError(call)

    def run_until(self, done: Callable[[], bool]) -> None:
        """Do what is to be done later at once, until ``done``."""
        deadline = time.monotonic() + LONG
        while not done():
            assert time.monotonic() < deadline
            self.let_pass()
            time.sleep(0.002)

    def let_pass(self) -> None:
        """Do what is to be done later, and what has come."""
        later, self.later = self.later, []
        for call in later:
            call()
        for fd, _ in ready_of(list(self.ready)):
            self.ready[fd]()


def ready_of(fds: list[int]) -> list[tuple[int, int]]:
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return poll.poll(0)


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    assert not loop.ready


@pytest.fixture
def guard(loop: Loop) -> Iterator[Guard]:
    guard = Guard(loop)
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


def lives(guard: Guard, program: subprocess.Popen[bytes], count: int) -> None:
    for number in range(count):
        vm_id = f"{number:032x}"
        guard.expect(vm_id)
        guard.keep(program.pid, vm_id, ticks())
        guard.let_go(vm_id)


def is_told(guard: Guard, program: subprocess.Popen[bytes]) -> bool:
    if not has_told_all(guard):
        lives(guard, program, 1)  # what waits is told with what comes next
    return has_told_all(guard)


def has_told_all(guard: Guard) -> bool:
    assert guard._pipe is not None
    return guard._pipe.has_told_all


def test_the_time_of_a_start_is_known_without_a_look(guard: Guard) -> None:
    assert guard._knows_clock
    for _ in range(20):
        since = ticks()
        with subprocess.Popen(["true"]) as process:
            until_now = ticks()
            began = start_of(process.pid)
        assert began is None or since <= began <= until_now <= since + 100


def test_it_sleeps_while_programs_are_started_and_removed() -> None:
    with VMManager(SubprocessBackend("group")) as manager:
        manager.remove(manager.allocate(VMConfig("vm", ["sleep", "1000"])))
        pid = process_of(guard_of(manager)).pid
        until(lambda: status(pid)["State"].startswith("S"))
        before = status(pid)["voluntary_ctxt_switches"]
        for _ in range(room_of(manager) // 300):  # it is woken when a quarter of its pipe is full
            manager.remove(manager.allocate(VMConfig("vm", ["sleep", "1000"])))
        assert status(pid)["voluntary_ctxt_switches"] == before


def guard_of(manager: VMManager) -> Guard:
    backend = manager.backend
    assert isinstance(backend, SubprocessBackend)
    assert isinstance(backend._holder, GroupHolder)
    assert backend._holder._guard is not None
    return backend._holder._guard


def room_of(manager: VMManager) -> int:
    """Return how much it is told before it is woken: little for a user who has many pipes."""
    pipe = guard_of(manager)._pipe
    assert pipe is not None
    return min(pipe._most_unread - pipe._unread, 6000)


def test_its_pipe_does_not_fill(guard: Guard, program: subprocess.Popen[bytes]) -> None:
    for _ in range(10):  # each more than the pipe holds
        lives(guard, program, 600)
        until(lambda: is_told(guard, program))
    assert process_of(guard).poll() is None


def test_a_small_pipe_is_read_when_it_is_full(
    guard: Guard, program: subprocess.Popen[bytes]
) -> None:
    """As a user's who has many: what is said is told at once, and not with the next start."""
    pipe = guard._pipe
    assert pipe is not None
    until(lambda: status(process_of(guard).pid)["State"].startswith("S"))
    assert pipe._most_unread == fcntl.fcntl(pipe._pipe, fcntl.F_GETPIPE_SZ) // 4
    fcntl.fcntl(pipe._pipe, fcntl.F_SETPIPE_SZ, 4096)
    for _ in range(300):
        lives(guard, program, 1)
        assert pipe.has_told_all


def test_one_that_is_stopped_holds_nobody_up_and_is_continued(
    guard: Guard, program: subprocess.Popen[bytes]
) -> None:
    process = process_of(guard)
    os.kill(process.pid, signal.SIGSTOP)
    until(lambda: status(process.pid)["State"].startswith("T"))
    lives(guard, program, 3000)
    until(lambda: not status(process.pid)["State"].startswith("T"))
    until(lambda: is_told(guard, program))


def test_what_a_full_pipe_did_not_take_is_told_without_another_start(
    guard: Guard, loop: Loop, program: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.kill(process_of(guard).pid, signal.SIGSTOP)
    with monkeypatch.context() as patched:
        patched.setattr(guard, "_wake", lambda _: None)
        while has_told_all(guard):
            lives(guard, program, 1)
    assert loop.later
    loop.run_until(lambda: has_told_all(guard))


def test_it_reads_before_its_pipe_is_full(guard: Guard, program: subprocess.Popen[bytes]) -> None:
    pipe = guard._pipe
    assert pipe is not None
    size = 4 * pipe._most_unread
    lives(guard, program, size // 300)  # each some 150 bytes: half of it
    until(lambda: unread(pipe._pipe) < pipe._most_unread)


def unread(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_one_that_begins_with_more_than_its_pipe_holds_is_told_all(loop: Loop) -> None:
    guard = Guard(loop)
    guard._guarded = {f"{n:032x}": f"+0 0 0 {n:032x}\n" for n in range(3000)}
    guard.begin()
    try:
        loop.run_until(lambda: has_told_all(guard))
    finally:
        guard.close()


@pytest.mark.parametrize("error", [OSError(errno.EAGAIN, "no process"), RuntimeError("the end")])
@pytest.mark.parametrize("place", ["set_blocking", "Popen"])
def test_one_that_cannot_begin_leaves_no_descriptor(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, error: Exception, place: str
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(subprocess if place == "Popen" else os, place, fails)
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(type(error)):
        Guard(loop).begin()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.parametrize("is_blocked", [False, True])
def test_the_mask_of_who_speaks_to_it_is_left_as_it_was(
    guard: Guard, program: subprocess.Popen[bytes], is_blocked: bool
) -> None:
    pipe = guard._pipe
    assert pipe is not None
    how = signal.SIG_BLOCK if is_blocked else signal.SIG_UNBLOCK
    before = signal.pthread_sigmask(how, (signal.SIGPIPE,))
    try:
        lives(guard, program, 3)
        pipe.nudge()
        now = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert (signal.SIGPIPE in now) == is_blocked


def test_one_that_somebody_has_ended_is_made_anew_once_a_second_at_most(
    guard: Guard, loop: Loop, program: subprocess.Popen[bytes]
) -> None:
    guard.expect("0" * 32)
    guard.keep(program.pid, "0" * 32, ticks())
    first = process_of(guard)
    first.kill()
    loop.run_until(lambda: process_of(guard) is not first)
    assert process_of(guard).poll() is None
    (delay,) = loop.delays
    assert 0.0 < delay <= 1.0
    assert first.returncode == -signal.SIGKILL


def test_the_next_one_knows_all_before_it_begins(
    guard: Guard, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host may be killed right after its start."""
    guard.expect("0" * 32)
    first, told = process_of(guard), bytearray()
    popen = subprocess.Popen

    def start(*args: Any, **more: Any) -> subprocess.Popen[bytes]:
        told.extend(fcntl.ioctl(more["stdin"], termios.FIONREAD, bytes(4)))
        return popen(*args, **more)

    monkeypatch.setattr(subprocess, "Popen", start)
    first.kill()
    loop.run_until(lambda: process_of(guard) is not first)
    assert int.from_bytes(told, sys.byteorder) > len("0" * 32)


def test_one_that_guards_nothing_is_not_made_anew(guard: Guard, loop: Loop) -> None:
    process = process_of(guard)
    process.kill()
    loop.run_until(lambda: not loop.ready)
    loop.let_pass()
    assert process_of(guard) is process


def test_one_that_cannot_be_made_anew_is_so_later(
    guard: Guard, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard.expect("0" * 32)
    first = process_of(guard)
    first.kill()
    loop.run_until(lambda: not loop.ready)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe", no_descriptor)
        loop.let_pass()
    assert process_of(guard) is first
    loop.let_pass()
    assert process_of(guard) is not first


def test_one_that_cannot_be_had_for_a_start_is_had_a_little_later(
    guard: Guard, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = process_of(guard)
    first.kill()
    first.wait()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe", no_descriptor)
        guard.expect("0" * 32)
        guard.expect("1" * 32)
        assert guard.is_lacking
    assert len(loop.later) == 1
    loop.run_until(lambda: process_of(guard) is not first)
    assert not guard.is_lacking


def test_one_that_ends_by_itself_is_tried_more_and_more_rarely(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(7)")
    monkeypatch.setattr(_guard, "_PROGRAM", str(broken))
    guard = Guard(loop)
    guard.expect("0" * 32)
    loop.run_until(lambda: len(loop.delays) == 4)
    assert guard.is_lacking
    assert [round(delay + 0.5) for delay in loop.delays] == [1, 2, 4, 8]
    assert "has ended with code 7" in caplog.text
    guard.close()


def test_a_log_that_fails_does_not_keep_it_from_being_made_anew(
    guard: Guard, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard.expect("0" * 32)
    first = process_of(guard)
    monkeypatch.setattr(_guard._log, "warning", lambda *_: 1 / 0)
    first.kill()
    with pytest.raises(ZeroDivisionError):
        loop.run_until(lambda: False)
    loop.run_until(lambda: process_of(guard) is not first)


def no_descriptor() -> tuple[int, int]:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


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
