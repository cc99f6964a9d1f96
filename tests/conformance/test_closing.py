"""Close, by several at once and on top of itself: each returns when everything is gone."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType

import pytest

from procvm import Backend, FakeBackend, SubprocessBackend, VMConfig, VMEvent, VMManager

DEAF = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1000; done"]


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_several_threads_may_close_at_once(containment: str) -> None:
    manager = VMManager(SubprocessBackend(containment))  # type: ignore[arg-type]
    vm = manager.allocate(VMConfig("deaf", DEAF))
    next(iter(manager.follow(vm)))
    ended: list[str] = []

    def close(name: str) -> None:
        manager.close(grace=0.3)
        ended.append(name)

    threads = [threading.Thread(target=close, args=(f"closer {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(ended) == 4
    assert repr(manager) == "<VMManager closed>"


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_a_signal_handler_may_close_what_is_being_closed(containment: str) -> None:
    manager = VMManager(SubprocessBackend(containment))  # type: ignore[arg-type]
    vm = manager.allocate(VMConfig("deaf", DEAF))
    next(iter(manager.follow(vm)))
    closed: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        manager.close()
        closed.append(number)

    before = signal.signal(signal.SIGUSR1, handler)
    timer = threading.Timer(
        0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGUSR1)
    )
    try:
        timer.start()
        manager.close(grace=0.5)
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert closed == [signal.SIGUSR1]


BACKENDS: list[Callable[[], Backend]] = [
    FakeBackend, partial(SubprocessBackend, "tree"), partial(SubprocessBackend, "group"),
]  # fmt: skip


@pytest.mark.parametrize("make", BACKENDS, ids=["fake", "tree", "group"])
def test_a_slow_subscriber_has_heard_it_all_when_close_returns(
    make: Callable[[], Backend],
) -> None:
    heard: list[str] = []

    def slow(event: VMEvent) -> None:
        if event.kind == "removed":
            threading.Event().wait(0.3)
        heard.append(event.kind)

    with VMManager(make()) as manager:
        manager.subscribe(slow)
        manager.allocate(VMConfig("web", ["sleep", "1000"]))
    assert heard == ["allocated", "started", "ready", "stopping", "exited", "removed"]


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_a_subscriber_may_close_what_is_being_closed(
    containment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procvm.manager._closing._LAST_PATIENCE", 1000.0)
    manager = VMManager(SubprocessBackend(containment))  # type: ignore[arg-type]
    is_closing = threading.Event()
    closed: list[str] = []

    def closes(event: VMEvent) -> None:
        if event.kind == "stopping":
            is_closing.set()
            manager.close()
            closed.append(event.kind)

    manager.subscribe(closes)
    next(iter(manager.follow(manager.allocate(VMConfig("deaf", DEAF)))))
    manager.close(grace=0.3)
    assert is_closing.is_set()
    assert closed == ["stopping"]


def test_a_subscriber_that_never_returns_holds_no_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("procvm.manager._closing._LAST_PATIENCE", 0.05)
    release = threading.Event()

    def never(_: VMEvent) -> None:
        release.wait(60)

    manager = VMManager()
    manager.subscribe(never)
    manager.allocate(VMConfig("web", ["sleep", "1000"]))
    manager.close()
    assert not release.is_set()
    release.set()


SAYS_GOODBYE = """
import threading
from procvm import VMConfig, VMManager
def slow(event):
    threading.Event().wait(0.3 if event.kind == "removed" else 0.0)
    print(event.kind, end=" ")
manager = VMManager()
manager.subscribe(slow)
manager.allocate(VMConfig("web", ["sleep", "1000"]))
"""


def test_the_last_events_are_told_before_the_program_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAYS_GOODBYE],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.endswith("exited removed ")


def test_close_again_is_silent_also_on_the_fake() -> None:
    manager = VMManager(FakeBackend())
    manager.allocate(VMConfig("web", ["web"]))
    manager.close()
    manager.close()
    assert repr(manager) == "<VMManager closed>"


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_a_shorter_grace_hurries_a_close_that_is_under_way(containment: str) -> None:
    manager = VMManager(SubprocessBackend(containment))  # type: ignore[arg-type]
    vm = manager.allocate(VMConfig("deaf", DEAF))
    next(iter(manager.follow(vm)))
    stopping = threading.Event()
    manager.subscribe(lambda event: stopping.set() if event.kind == "stopping" else None)
    first = threading.Thread(target=manager.close, kwargs={"grace": 1000.0})
    first.start()
    assert stopping.wait(30)
    manager.close(grace=0.0)
    first.join(30)
    assert not first.is_alive()
