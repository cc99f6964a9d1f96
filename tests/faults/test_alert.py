"""The keeper is woken ahead of a start: once, for nothing else, and never through a stranger."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from looking import until

from procvm import ManagerClosedError, ProgramNotFoundError, SubprocessBackend, VMConfig, VMManager
from procvm.backends.subprocess import _keeper
from procvm.backends.subprocess._calls import CALLS, OrdinaryCalls

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the keeper is Linux's")

SLEEP = ["sleep", "1000"]
LONG = 60.0


@pytest.fixture
def manager() -> Iterator[VMManager]:
    with VMManager(SubprocessBackend("tree")) as made:
        made.remove(made.allocate(VMConfig("first", SLEEP)))  # the keeper is up
        yield made


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    sent: list[bytes] = []
    monkeypatch.setattr(CALLS, "hint", lambda _, data: sent.append(data))
    return sent


def keeper_of(manager: VMManager) -> _keeper.Keeper:
    backend = manager.backend
    assert isinstance(backend, SubprocessBackend)
    keeper = backend._reactor.hub._keeper
    assert keeper is not None
    return keeper


def wakings(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def test_it_wakes() -> None:
    with VMManager(SubprocessBackend("tree")) as manager:
        manager.allocate(VMConfig("vm", SLEEP))
        keeper = keeper_of(manager)
        before = wakings(keeper.process.pid)
        keeper.alert()
        until(lambda: wakings(keeper.process.pid) > before)


def test_a_start_hints_once_and_nothing_else_does(manager: VMManager, hints: list[bytes]) -> None:
    vm = manager.allocate(VMConfig("vm", SLEEP))
    assert len(hints) == 1
    manager.reset(vm)
    manager.remove(vm)
    assert len(hints) == 1
    manager.allocate(VMConfig("vm", SLEEP))
    assert len(hints) == 2


def test_starts_that_fail_before_they_are_asked_for_do_not_fill_the_socket(
    manager: VMManager, hints: list[bytes]
) -> None:
    for _ in range(10):
        with pytest.raises(ProgramNotFoundError):
            manager.allocate(VMConfig("vm", ["/no/such/program"]))
    assert len(hints) == 1


def test_the_first_start_has_nobody_to_hint_to(hints: list[bytes]) -> None:
    with VMManager(SubprocessBackend("tree")) as manager:
        manager.allocate(VMConfig("vm", SLEEP))
    assert hints == []


def test_where_it_would_be_a_call_more_it_is_left_out(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_keeper, "CALLS", OrdinaryCalls())
    assert manager.allocate(VMConfig("vm", SLEEP)).pid


def test_its_socket_is_not_closed_in_the_middle_of_a_hint(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the number of its descriptor could be another's, who would get the message."""
    amid, go_on, seen = threading.Event(), threading.Event(), list[int]()

    def slow(sock: socket.socket, data: bytes) -> None:
        del data
        amid.set()
        go_on.wait(LONG)
        seen.append(sock.fileno())

    keeper = keeper_of(manager)
    monkeypatch.setattr(CALLS, "hint", slow)
    thread = threading.Thread(target=keeper.alert)
    thread.start()
    assert amid.wait(LONG)
    os.kill(keeper.process.pid, signal.SIGKILL)
    until(lambda: keeper._is_over)
    go_on.set()
    thread.join()
    assert seen[0] >= 0
    keeper.alert()  # it is over: nothing is sent
    assert len(seen) == 1


@pytest.mark.parametrize("dies", [False, True])  # the keeper, just before
def test_a_handler_on_top_of_a_hint_may_close(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch, *, dies: bool
) -> None:
    """The loop closes the socket meanwhile, and waits for nobody to do so."""
    keeper, amid = keeper_of(manager), False

    def interrupted(sock: socket.socket, data: bytes) -> None:
        nonlocal amid
        del data
        assert sock.fileno() >= 0
        if not amid:
            amid = True
            os.kill(os.getpid(), signal.SIGUSR1)

    def handler(*_: object) -> None:
        if dies:
            os.kill(keeper.process.pid, signal.SIGKILL)
            until(lambda: keeper._is_over)
        manager.close()

    monkeypatch.setattr(CALLS, "hint", interrupted)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(ManagerClosedError):
            manager.allocate(VMConfig("vm", SLEEP))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert keeper._socket.fileno() == -1
