"""Faults of programs: what they do at their end, to their output, to themselves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from procvm import (
    ExitedBeforeReadyError,
    LogPolicy,
    ProgramNotFoundError,
    StartError,
    StopPolicy,
    VMConfig,
    VMManager,
    VMState,
    probes,
)  # fmt: skip

LONG = ["sleep", "1000"]


def python(text: str) -> list[str]:
    return [sys.executable, "-u", "-c", text]


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def first_line(manager: VMManager, vm: str) -> str:
    return str(next(iter(manager.follow(vm))))


@pytest.mark.parametrize(
    ("code", "wanted"),
    [("exit 0", (0, None)), ("exit 7", (7, None)), ("kill -SEGV $$", (None, 11))],
)
def test_33_an_early_end_is_told_with_its_code(
    manager: VMManager, code: str, wanted: tuple[int | None, int | None]
) -> None:
    manager.allocate(VMConfig("x", ["sh", "-c", code]))
    ended = manager.wait("x", timeout=20)
    assert ended.exit is not None
    assert (ended.exit.code, ended.exit.signal) == wanted
    assert ended.pid is None


def test_34_an_end_in_the_middle_of_a_removal_is_no_failure(manager: VMManager) -> None:
    for number in range(20):
        manager.allocate(VMConfig("x", ["sh", "-c", f"exit {number}"]))
        gone = manager.remove("x")
        assert gone.exit is not None
        assert gone.exit.code == number or gone.exit.signal == signal.SIGTERM


def test_35_what_ignores_its_signal_is_killed_after_the_grace(manager: VMManager) -> None:
    manager.allocate(
        VMConfig("x", ["sh", "-c", "trap '' TERM; echo deaf; sleep 1000 & wait; wait"])
    )
    assert first_line(manager, "x") == "deaf"
    began = time.monotonic()
    gone = manager.remove("x", grace=0.3)
    assert 0.3 <= time.monotonic() - began < 10
    assert gone.exit is not None
    assert gone.exit.signal == signal.SIGKILL
    assert gone.reason.endswith("SIGKILL: it did not end within its grace of 0.3 s")


def test_37_a_zombie_below_counts_as_gone(manager: VMManager) -> None:
    text = "import os,time\npid=os.fork()\nif pid==0: os._exit(0)\nprint('up'); time.sleep(1000)"
    manager.allocate(VMConfig("x", python(text)))
    assert first_line(manager, "x") == "up"
    assert manager.remove("x", grace=5).state is VMState.REMOVED


def test_43_a_program_that_closes_everything_costs_nothing_and_runs_on(manager: VMManager) -> None:
    text = "import os,time\nprint('up')\nos.closerange(0, 64)\ntime.sleep(1000)"
    manager.allocate(VMConfig("x", python(text)))
    assert first_line(manager, "x") == "up"
    deadline = time.monotonic() + 20
    pid = manager.get("x").pid
    while os.listdir(f"/proc/{pid}/fd") and time.monotonic() < deadline:  # noqa: PTH208
        time.sleep(0.01)  # nothing is told of it
    manager.list()
    before = time.thread_time_ns(), time.process_time()
    ended = threading.Event()
    ended.wait(1.0)  # time in which nothing is to be done
    assert time.process_time() - before[1] < 0.2
    assert manager.get("x").state is VMState.RUNNING


def test_44_a_flood_is_bounded_and_hurts_no_neighbour(manager: VMManager) -> None:
    keep = 2**16
    flood = "import sys\nline='x'*79+'\\n'\nwhile True: sys.stdout.write(line)"
    manager.allocate(VMConfig("flood", [sys.executable, "-c", flood], log=LogPolicy(keep=keep)))
    first_line(manager, "flood")
    manager.allocate(VMConfig("neighbour", ["sh", "-c", "echo up; sleep 1000"]))
    assert first_line(manager, "neighbour") == "up"
    assert manager.remove("neighbour").state is VMState.REMOVED
    assert sum(len(str(line)) + 1 for line in manager.logs("flood")) <= keep
    assert manager.remove("flood", grace=1.0).state is VMState.REMOVED


def test_45_lines_without_end_and_split_characters_are_told_whole(manager: VMManager) -> None:
    text = (
        "import fcntl,os,termios,time\n"
        "def until_read():\n"
        " while any(fcntl.ioctl(1,termios.FIONREAD,bytes(4))): time.sleep(0.001)\n"
        "data='é'.encode()\n"
        "for _ in range(3):\n os.write(1,data[:1]); until_read(); os.write(1,data[1:])\n"
        "os.write(1,b'\\xff\\n'+b'y'*(3*2**20))"
    )
    manager.allocate(VMConfig("x", python(text), log=LogPolicy(keep=2**23)))
    manager.wait("x", timeout=60)
    lines = [str(line) for line in manager.logs("x")]
    assert lines[0] == "ééé\ufffd"
    assert "".join(lines[1:]) == "y" * (3 * 2**20)


@pytest.mark.parametrize("change", ["executable", "directory"])
def test_48_what_a_reset_needs_and_is_gone_is_told(
    manager: VMManager, tmp_path: Path, change: str
) -> None:
    home, program = tmp_path / "home", tmp_path / "program"
    home.mkdir()
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    manager.allocate(VMConfig("x", [str(program), "1000"], path=home))
    program.unlink() if change == "executable" else home.rmdir()
    with pytest.raises(StartError) as caught:
        manager.reset("x")
    assert caught.value.errno
    assert isinstance(caught.value, ProgramNotFoundError) or change == "directory"
    assert manager.get("x").state is VMState.FAILED
    assert manager.remove("x").state is VMState.REMOVED


def test_48_a_program_that_changes_itself_is_removed_all_the_same(manager: VMManager) -> None:
    text = (
        "import os,time\n"
        "if os.fork(): time.sleep(1000)\n"
        "os.setsid(); open('/proc/self/comm','w').write('another')\n"
        "print(os.getpid(), flush=True); time.sleep(1000)"
    )
    manager.allocate(VMConfig("x", python(text)))
    pid = int(first_line(manager, "x"))
    manager.remove("x", grace=1.0)
    assert not alive(pid)


def test_49_a_reset_whose_start_fails_keeps_the_name_and_may_be_tried_again(
    manager: VMManager, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    vm = manager.allocate(VMConfig("x", [str(program)]))
    program.rename(tmp_path / "away")
    with pytest.raises(StartError):
        manager.reset("x")
    failed = manager.get("x")
    assert (failed.state, failed.vm_id, failed.pid) == (VMState.FAILED, vm.vm_id, None)
    assert vm.pid is not None
    assert not alive(vm.pid)
    (tmp_path / "away").rename(program)
    again = manager.reset("x")
    assert (again.state, again.generation) == (VMState.RUNNING, 3)


def test_41_50_what_cannot_be_killed_is_named_and_its_end_is_still_seen(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that no signal reaches: the senders of "group" are taken out for a while."""
    from procvm.backends.subprocess import _group

    if manager.backend.capabilities.containment == "tree":
        pytest.skip("the keeper sends in its own process: see test_keeper_death")
    vm = manager.allocate(VMConfig("x", LONG, stop=StopPolicy(grace=0.1)))
    assert vm.pid is not None
    with monkeypatch.context() as patch:
        patch.setattr(_group.GroupHolder, "_signal_group", lambda *_: None)
        patch.setattr(_group.GroupHolder, "_signal_main", lambda *_: None)
        began = time.monotonic()
        with pytest.raises(Exception, match=str(vm.pid)) as caught:
            manager.remove(vm)
        assert type(caught.value).__name__ == "StopError"
        assert time.monotonic() - began < 10
        stuck = manager.get(vm)
        assert (stuck.state, stuck.healthy) == (VMState.STOPPING, False)
    os.kill(vm.pid, signal.SIGKILL)
    assert manager.wait(vm, VMState.REMOVED, timeout=20).state is VMState.REMOVED
    assert manager.list() == []


def test_40_a_bomb_inside_a_limit_is_taken_away(manager: VMManager) -> None:
    text = (
        "import os,sys,time\n"
        "for _ in range(20):\n"
        " if os.fork()==0:\n"
        "  while True:\n"
        "   if os.fork()==0: time.sleep(0.002); os._exit(0)\n"
        "   os.wait()\n"
        "print('up', flush=True)\n"
        "time.sleep(1000)"
    )
    manager.allocate(VMConfig("x", python(text)))
    assert first_line(manager, "x") == "up"
    vm = manager.get("x")
    manager.remove("x", grace=0.0)
    found = subprocess.run(
        ["ps", "-eo", "pid=,sid=,stat="], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    members = [line for line in found if line.split()[1:2] == [str(vm.pid)]]
    assert not [line for line in members if line.split()[2][0] not in "ZX"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"command": "~/bin/serve"}, "; ~ is not expanded"),
        ({"command": "$HOME/serve"}, "; nothing is interpolated"),
        ({"command": "serve", "path": "~/served"}, "; ~ is not expanded"),
        ({"command": "PORT=80 serve"}, "; env= sets variables"),
        ({"command": "cd /tmp"}, "; only a shell knows it"),
        ({"command": ["serve --fast"]}, "; a sequence's first word is the program alone"),
        ({"command": "serve.sh"}, "': say './serve.sh' [tried"),
        ({"command": "true", "log": {"file": "~/x.log"}}, "; ~ is not expanded"),
        ({"command": "no-such-program"}, "own PATH [tried"),
    ],
)
def test_what_a_shell_would_have_done_is_told(
    tmp_path: Path, config: dict[str, object], words: str
) -> None:
    (tmp_path / "serve.sh").write_text("#!/bin/sh\n")
    with VMManager() as manager, pytest.raises(StartError) as caught:
        manager.allocate({"name": "x", "path": str(tmp_path), **config})
    assert words in str(caught.value)


def test_a_program_beside_the_host_is_told_with_its_directory(tmp_path: Path) -> None:
    (tmp_path / "serve").write_text("#!/bin/sh\n")
    with VMManager() as manager, pytest.raises(ProgramNotFoundError) as caught:
        manager.allocate(VMConfig("x", ["serve", "--fast"], path=tmp_path))
    there = f"; there is a file of that name in {str(tmp_path)!r}"
    assert caught.value.why.endswith(f"{there}: say './serve'")


def test_a_failed_reset_shows_the_lines_of_its_own_life(tmp_path: Path) -> None:
    words = (
        f"test -e {tmp_path}/again && exit 4; touch {tmp_path}/again; echo listening; sleep 1000"
    )
    ready = probes.log("listening", timeout=30.0)
    with VMManager() as manager:
        vm = manager.allocate(VMConfig("x", ["sh", "-c", words], ready=ready))
        with pytest.raises(ExitedBeforeReadyError) as caught:
            manager.reset(vm)
        assert caught.value.logs == ()
        assert [str(line) for line in manager.logs(vm)] == ["listening"]  # of the life before
