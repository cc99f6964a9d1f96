"""The end of a manager: whoever comes too late is answered, and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from procvm import (
    Backend,
    FakeBackend,
    ManagerClosedError,
    StartInterruptedError,
    SubprocessBackend,
    VMConfig,
    VMManager,
)  # fmt: skip
from procvm.backends import Plan, Waiter

LONG = ["sleep", "1000"]
KINDS = ["tree", "group", "fake"]


def backend_of(kind: Any) -> Backend:
    return FakeBackend() if kind == "fake" else SubprocessBackend(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_60_after_close_every_verb_says_so(kind: str) -> None:
    manager = VMManager(backend_of(kind))
    vm = manager.allocate(VMConfig("x", LONG))
    manager.close()
    manager.close()
    verbs: dict[str, Callable[[], object]] = {
        "allocate": lambda: manager.allocate(VMConfig("y", LONG)),
        "remove": lambda: manager.remove(vm), "reset": lambda: manager.reset(vm),
        "health": manager.health, "list": manager.list, "get": lambda: manager.get(vm),
        "wait": lambda: manager.wait(vm), "signal": lambda: manager.signal(vm, 1),
        "usage": lambda: manager.usage(vm), "subscribe": lambda: manager.subscribe(print),
        "follow": lambda: manager.follow(vm),
    }  # fmt: skip
    for name, verb in verbs.items():
        with pytest.raises(ManagerClosedError) as caught:
            verb()
        assert caught.value.verb == name
    assert manager.logs(vm) == []
    assert manager.timeline(vm).spans[-1].state == "removed"
    assert manager.history()[-1].kind == "removed"


@pytest.mark.parametrize("kind", KINDS)
def test_60_a_close_from_many_threads_is_one(kind: str) -> None:
    manager = VMManager(backend_of(kind))
    vm = manager.allocate(VMConfig("x", LONG))
    closing = [threading.Thread(target=manager.close, daemon=True) for _ in range(8)]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join(60)
        assert not thread.is_alive()
    assert [event.kind for event in manager.history(vm)].count("stopping") == 1


class LateWaiter(SubprocessBackend):
    """Lets the chosen thread begin to wait only when it is told to."""

    def __init__(self, containment: Any) -> None:
        super().__init__(containment)
        self.late: threading.Thread | None = None
        self.is_there, self.may_go = threading.Event(), threading.Event()

    def waiter(self) -> Waiter:
        self._hold()
        return super().waiter()

    def resolve(self, config: VMConfig, base: str) -> Plan:
        self._hold()
        return super().resolve(config, base)

    def _hold(self) -> None:
        if threading.current_thread() is self.late:
            self.is_there.set()
            assert self.may_go.wait(60)


@pytest.mark.parametrize("containment", ["tree", "group"])
@pytest.mark.parametrize("verb", ["close", "allocate", "remove"])
@pytest.mark.parametrize("is_used", [True, False])
def test_60_what_is_begun_before_a_close_and_posted_after_it_is_answered(
    containment: str, verb: str, is_used: bool
) -> None:
    backend = LateWaiter(containment)
    manager = VMManager(backend)
    if is_used:
        manager.allocate(VMConfig("x", LONG))
    calls: dict[str, Callable[[], object]] = {
        "close": manager.close, "allocate": lambda: manager.allocate(VMConfig("y", LONG)),
        "remove": lambda: manager.remove("x"),
    }  # fmt: skip
    answers: list[Exception | None] = []

    def late() -> None:
        try:
            calls[verb]()
            answers.append(None)
        except ManagerClosedError as e:
            answers.append(e)

    backend.late = threading.Thread(target=late, daemon=True)
    backend.late.start()
    assert backend.is_there.wait(60)
    manager.close()
    backend.may_go.set()
    backend.late.join(60)
    assert answers == [None] if verb == "close" else isinstance(answers[0], ManagerClosedError)


@pytest.mark.parametrize("kind", KINDS)
def test_60_a_close_in_a_callback_closes(kind: str) -> None:
    manager = VMManager(backend_of(kind))
    closed = threading.Event()

    def close(_: Any) -> None:
        manager.close()
        closed.set()

    manager.subscribe(close)
    try:
        manager.allocate(VMConfig("x", LONG))
    except (ManagerClosedError, StartInterruptedError):
        pass  # it may be closed before it has answered
    assert closed.wait(60)
    with pytest.raises(ManagerClosedError):
        manager.list()
