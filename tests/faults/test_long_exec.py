"""Who is in the middle of an exec shows neither words nor environment: it is waited for."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import procvm
from procvm import StopPolicy, SubprocessBackend, VMConfig, VMManager
from procvm.backends.subprocess import _members

WHO_LEAVES = "(setsid sh -c 'echo $$; exec sleep 1000' & :); sleep 1000"


@pytest.fixture
def manager() -> Iterator[VMManager]:
    with VMManager(SubprocessBackend("group")) as made:
        yield made


def starved(patch: pytest.MonkeyPatch, pid: int, looks: int) -> list[int]:
    """Show ``pid`` as one in the middle of an exec for so many looks; return the looks."""
    seen: list[int] = []
    environ_of, shows_no_words = _members.environ_of, _members._shows_no_words

    def bare(one: int) -> bytes | None:
        if one == pid and len(seen) < looks:
            seen.append(one)
            return b""
        return environ_of(one)

    patch.setattr(_members, "environ_of", bare)
    patch.setattr(
        _members, "_shows_no_words", lambda stat: stat.pid == pid or shows_no_words(stat)
    )
    return seen


def daemon_of(manager: VMManager, grace: float) -> tuple[str, psutil.Process]:
    """Return a VM, and a process of it with another session and parent: its marker tells alone."""
    vm = manager.allocate(VMConfig("x", ["sh", "-c", WHO_LEAVES], stop=StopPolicy(grace=grace)))
    return "x", psutil.Process(int(next(iter(manager.follow(vm))).text))


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

    def looks(
        trees: dict[str, int | None], some: range | None = None
    ) -> dict[str, _members.Look]:
        new = frozenset({(next(numbers), 1)})
        return {
            vm_id: look._replace(is_sure=False, in_exec=new)
            for vm_id, look in _members.looks(trees, some).items()
        }

    monkeypatch.setattr("procvm.backends.subprocess._passes.looks", looks)
    manager.remove(name)  # each is seen once in its exec: a few more passes, not the grace
    assert next(numbers) < 10_050


TAKES_AWAY = """
import subprocess, sys
sys.path.insert(0, sys.argv[1])
import _guard_program, _members
mark = "PROCVM_VM=" + sys.argv[2]
sleeper = subprocess.Popen(["sleep", "1000"], env={"PROCVM_VM": sys.argv[2]}, process_group=0)
true_environ, true_words, looks = _members.environ_of, _members._shows_no_words, []

def environ_of(pid):
    if pid == sleeper.pid and len(looks) < 8:
        looks.append(pid)
        return b""
    return true_environ(pid)

_members.environ_of = environ_of
_members._shows_no_words = lambda stat: stat.pid == sleeper.pid or true_words(stat)
_guard_program._take_away({sys.argv[2]: (2 ** 22 + 1, 1)}, "")  # the main process is no more
print(sleeper.wait(10))
"""


def test_51_who_is_long_in_its_exec_when_its_host_dies_is_taken_away() -> None:
    folder = Path(procvm.__file__).parent / "backends" / "subprocess"
    told = subprocess.run(
        [sys.executable, "-c", TAKES_AWAY, str(folder), uuid.uuid4().hex],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (told.stdout, told.stderr) == ("-9\n", "")
