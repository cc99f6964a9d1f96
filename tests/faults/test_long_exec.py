"""Who is in the middle of an exec shows no environment yet: it is waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import procvm
from procvm import StopPolicy, SubprocessBackend, VMConfig, VMManager, VMState
from procvm.backends.subprocess import _members, _passes

WHO_LEAVES = "(setsid sh -c 'echo $$; exec sleep 1000' & :); sleep 1000"


@pytest.fixture
def manager() -> Iterator[VMManager]:
    with VMManager(SubprocessBackend("group")) as made:
        yield made


def starved(patch: pytest.MonkeyPatch, pid: int, looks: int) -> list[int]:
    """Show ``pid`` as one in the middle of an exec for so many looks; return the looks."""
    seen: list[int] = []
    shown_by = _members._shown_by

    def shown(stat: Any) -> Any:
        if stat.pid == pid and len(seen) < looks:
            seen.append(pid)
            return b"", "exec"
        return shown_by(stat)

    patch.setattr(_members, "_shown_by", shown)
    return seen


def daemon_of(manager: VMManager, grace: float) -> tuple[str, psutil.Process]:
    """Return a VM, and a process of it with another session and parent: its marker tells alone."""
    vm = manager.allocate(VMConfig("x", ["sh", "-c", WHO_LEAVES], stop=StopPolicy(grace=grace)))
    return "x", psutil.Process(int(next(iter(manager.follow(vm))).text))


DEAF = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(1000)
os.setsid()
print(os.getpid(), flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("others", [False, True])  # who looks at the same time looks in one pass
def test_who_is_in_its_exit_and_shows_no_marker_any_more_is_waited_for(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch, *, others: bool
) -> None:
    """As its memory goes first and its descriptors, a port say, a little later."""
    stop = StopPolicy(grace=0.5)
    manager.allocate(VMConfig("x", [sys.executable, "-c", DEAF], stop=stop))
    daemon = psutil.Process(int(next(iter(manager.follow("x"))).text))
    looks: list[int] = []
    shown_by = _members._shown_by

    def shown(stat: Any) -> Any:
        if stat.pid == daemon.pid:
            looks.append(stat.pid)
            if len(looks) > 1:
                return b"", "none"
        return shown_by(stat)

    monkeypatch.setattr(_members, "_shown_by", shown)
    if not others:
        monkeypatch.setattr(_passes, "young", lambda *_: range(daemon.pid - 1, daemon.pid + 1))
    manager.remove("x")
    assert len(looks) > 1
    assert not daemon.is_running() or daemon.status() == psutil.STATUS_ZOMBIE


def test_who_dies_of_its_kill_is_no_survivor_however_late_the_looks_are(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine a look at all processes may end long after the deadline."""
    stop = StopPolicy(grace=0.1)
    manager.allocate(VMConfig("x", [sys.executable, "-c", DEAF], stop=stop))
    daemon = psutil.Process(int(next(iter(manager.follow("x"))).text))
    look = _members.members

    def slow(*asked: Any) -> Any:
        found = look(*asked)
        time.sleep(1.5)
        return found

    monkeypatch.setattr(_passes, "young", lambda *_: range(daemon.pid - 1, daemon.pid + 1))
    monkeypatch.setattr(_passes, "members", slow)
    assert manager.remove("x").state is VMState.REMOVED
    assert not daemon.is_running() or daemon.status() == psutil.STATUS_ZOMBIE


def test_39_who_is_long_in_its_exec_is_found_afterwards(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, daemon = daemon_of(manager, grace=10)
    seen = starved(monkeypatch, daemon.pid, looks=30)
    began = time.monotonic()
    manager.remove(name)
    assert len(seen) == 30  # ten passes would have been too few
    assert time.monotonic() - began < 9  # it was asked to end as well, and has not been killed
    assert not daemon.is_running() or daemon.status() == psutil.STATUS_ZOMBIE


def test_39_who_never_comes_out_of_its_exec_keeps_nobody_waiting_for_ever(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, daemon = daemon_of(manager, grace=0.1)
    starved(monkeypatch, daemon.pid, looks=sys.maxsize)
    manager.remove(name)  # it may be a stranger: nobody can tell
    assert daemon.is_running()
    daemon.kill()


def test_39_others_that_exec_all_the_time_keep_nobody_waiting(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, daemon = daemon_of(manager, grace=30)
    daemon.kill()
    psutil.wait_procs([daemon])
    numbers = iter(range(10_000, 1_000_000))

    def looks(trees: dict[str, int | None], some: range | None = None) -> dict[str, _members.Look]:
        new = frozenset({(next(numbers), 1)})
        return {
            vm_id: look._replace(is_sure=False, in_exec=new)
            for vm_id, look in _members.looks(trees, some).items()
        }

    monkeypatch.setattr("procvm.backends.subprocess._passes.looks", looks)
    manager.remove(name)  # each is seen once in its exec: a few more passes, not the grace
    assert next(numbers) < 10_050


def test_39_a_stranger_without_an_environment_delays_no_end(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", ["sleep", "1000"], stop=StopPolicy(grace=30)))
    with subprocess.Popen(
        ["env", "-i", "sh", "-c", "echo; sleep 1000"],
        stdout=subprocess.PIPE, start_new_session=True,
    ) as other:  # fmt: skip
        try:
            assert other.stdout is not None
            other.stdout.readline()
            stat = _members.stat_of(other.pid)
            assert stat is not None
            assert _members._shown_by(stat) == (b"", "none")
            began = time.monotonic()
            manager.remove(vm)
            assert time.monotonic() - began < 9  # and never the grace
        finally:
            os.killpg(other.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("env_start", "env_end", "flags", "read_again", "expected"),
    [
        (0, 0, 0, b"", (b"", "exec")),
        (0, 0, 4, b"", (b"", "none")),  # it is about to end: there is no memory any more
        (1000, 1000, 0, b"", (b"", "none")),  # it was given no environment
        (1000, 2000, 0, b"A=b", (b"A=b", "none")),  # it has come out of its exec meanwhile
        (1000, 2000, 0, b"", (b"", "hidden")),  # it has unmapped its stack, or is in the next
        (1000, 2000, 0, None, (b"", "none")),  # gone
    ],
)
def test_39_who_shows_no_environment_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, env_start: int, env_end: int, flags: int,
    read_again: bytes | None, expected: tuple[bytes, str],
) -> None:  # fmt: skip
    own = _members.stat_of(os.getpid())
    assert own is not None
    assert 0 < own.env_start < own.env_end
    now = own._replace(env_start=env_start, env_end=env_end, flags=flags)
    shown = iter([b"", read_again])
    monkeypatch.setattr(_members, "environ_of", lambda _: next(shown))
    monkeypatch.setattr(_members, "stat_of", lambda _: now)
    assert _members._shown_by(own) == expected


LEAVES = """
import os, subprocess, sys
to_read, to_write = os.pipe()
subprocess.Popen([sys.executable, "-c", *sys.argv[1:], str(to_write)], pass_fds=[to_write])
os.read(to_read, 1)
"""

RENAMES = """
import os, signal, sys, time
count = 0

def ask(*_):
    global count
    count += 1
    open("/proc/self/comm", "w").write(f"ending-{count}")
    open(sys.argv[1], "a").write("asked\\n")

signal.signal(signal.SIGTERM, ask)
os.write(int(sys.argv[2]), b"x")
time.sleep(1)
"""


def test_42_what_is_left_and_renames_itself_is_asked_once(
    manager: VMManager, tmp_path: Path
) -> None:
    argv = [sys.executable, "-c", LEAVES, RENAMES, str(tmp_path / "asked")]
    vm = manager.allocate(VMConfig("x", argv, stop=StopPolicy(grace=30)))
    manager.wait(vm, VMState.EXITED)
    manager.remove(vm)  # what it has left ends by itself, a second after it began
    assert (tmp_path / "asked").read_text() == "asked\n"


TAKES_AWAY = """
import subprocess, sys
sys.path.insert(0, sys.argv[1])
import _guard_program, _members
mark = "PROCVM_VM=" + sys.argv[2]
sleeper = subprocess.Popen(["sleep", "1000"], env={"PROCVM_VM": sys.argv[2]}, process_group=0)
shown_by, looks = _members._shown_by, []

def shown(stat):
    if stat.pid == sleeper.pid and len(looks) < 8:
        looks.append(stat.pid)
        return b"", "exec"
    return shown_by(stat)

_members._shown_by = shown
_guard_program._take_away({sys.argv[2]: (2 ** 22 + 1, 1, 1)}, "")  # the main process is no more
print(sleeper.wait(10))
"""


def test_51_who_is_long_in_its_exec_when_its_host_dies_is_taken_away() -> None:
    folder = Path(procvm.__file__).parent / "backends" / "subprocess"
    told = subprocess.run(
        [sys.executable, "-c", TAKES_AWAY, str(folder), uuid.uuid4().hex],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (told.stdout, told.stderr) == ("-9\n", "")
