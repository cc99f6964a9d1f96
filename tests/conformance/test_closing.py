"""Close, by several at once and on top of itself: each returns when everything is gone."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import pytest

from procvm import FakeBackend, SubprocessBackend, VMConfig, VMManager

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


def test_close_again_is_silent_also_on_the_fake() -> None:
    manager = VMManager(FakeBackend())
    manager.allocate(VMConfig("web", ["web"]))
    manager.close()
    manager.close()
    assert repr(manager) == "<VMManager closed>"
