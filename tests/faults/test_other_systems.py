"""What other systems have instead of pidfds and /proc, as far as it can be had here.

There is no macOS in these tests: its kqueue is played by threads that wait, so what is shown is
how ours is used, and not that theirs works.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from procvm import SubprocessBackend, VMConfig, VMManager, VMState
from procvm.backends.subprocess import _members, _portable

LONG = ["sleep", "1000"]


class PlayedQueue:
    """kqueue(2) for the ends of children."""

    with_status = True

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._events: list[Any] = []

    def fileno(self) -> int:
        return self._read

    def control(self, changes: Any, most: int, timeout: float | None = None) -> list[Any]:
        for change in changes or ():
            threading.Thread(target=self._wait, args=(change.ident,), daemon=True).start()
        if not most:
            return []
        os.read(self._read, 4096)
        events, self._events = self._events[:most], self._events[most:]
        return events

    def _wait(self, pid: int) -> None:
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert end is not None
        exited = end.si_code == os.CLD_EXITED
        status = end.si_status << 8 if exited else end.si_status
        flags = 0x04000000 if self.with_status else 0
        self._events.append(SimpleNamespace(ident=pid, fflags=flags, data=status))
        os.write(self._write, b"\0")

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


def kevent(ident: int, *_: int) -> SimpleNamespace:
    return SimpleNamespace(ident=ident)


@pytest.fixture(params=["threads", "kqueue", "kqueue without status"])
def other(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[VMManager]:
    monkeypatch.delattr(os, "pidfd_open")
    if request.param != "threads":
        monkeypatch.setattr(PlayedQueue, "with_status", request.param == "kqueue")
        monkeypatch.setattr(select, "kqueue", PlayedQueue, raising=False)
        monkeypatch.setattr(select, "kevent", kevent, raising=False)
        for name in ("KQ_NOTE_EXIT", "KQ_FILTER_PROC", "KQ_EV_ADD", "KQ_EV_ONESHOT"):
            monkeypatch.setattr(select, name, 1, raising=False)
    with VMManager(SubprocessBackend("group")) as made:
        yield made


@pytest.mark.parametrize(
    ("shell", "code", "number"),
    [("exit 0", 0, None), ("exit 7", 7, None), ("kill -9 $$", None, 9)],
)
def test_ends_are_seen_without_pidfds(
    other: VMManager, shell: str, code: int | None, number: int | None
) -> None:
    other.allocate(VMConfig("x", ["sh", "-c", shell]))
    ended = other.wait("x", timeout=30)
    assert ended.exit is not None
    assert (ended.exit.code, ended.exit.signal) == (code, number)


def test_trees_are_taken_away_without_pidfds(other: VMManager) -> None:
    vm = other.allocate(VMConfig("x", ["sh", "-c", "(setsid sleep 1000 &); echo up; sleep 1000"]))
    next(iter(other.follow(vm)))
    assert other.reset("x").state is VMState.RUNNING
    other.remove("x")
    assert _portable.look(None, vm.vm_id, _members.MARKER) == []


def test_without_proc_a_tree_is_found_through_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_members, "HAS_PROC", False)
    monkeypatch.delattr(os, "pidfd_open")
    with (
        VMManager(SubprocessBackend("group")) as manager,
        subprocess.Popen(LONG) as stranger,
    ):
        shell = "setsid sleep 1000 & (setsid sleep 1000 &); sleep 1000 & echo up; wait"
        vm = manager.allocate(VMConfig("x", ["sh", "-c", shell]))
        next(iter(manager.follow(vm)))
        assert len(_portable.look(vm.pid, vm.vm_id, _members.MARKER)) >= 3
        manager.remove(vm)
        assert _portable.look(None, vm.vm_id, _members.MARKER) == []
        assert manager.backend.capabilities.degraded
        assert stranger.poll() is None
        stranger.send_signal(signal.SIGKILL)
