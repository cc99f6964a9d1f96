"""What a whole tree uses, whatever it does meanwhile."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from procvm import (
    ManagerClosedError,
    StopPolicy,
    SubprocessBackend,
    Usage,
    VMConfig,
    VMManager,
    VMNotFoundError,
    VMState,
)  # fmt: skip

PYTHON = [sys.executable, "-I", "-S", "-c"]
NOTHING = Usage(0.0, None, 0, 0, 0, 0)


@pytest.fixture(params=["tree", "group"])
def manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    with VMManager(SubprocessBackend(request.param)) as made:
        yield made


def test_children_and_daemons_are_counted(manager: VMManager) -> None:
    body = """
import os, time
eaten = bytearray(30_000_000)
if os.fork() == 0:  # a child
    time.sleep(1000)
if os.fork() == 0:  # a daemon: a session of its own, and its parent is gone
    os.setsid()
    if os.fork():
        os._exit(0)
    eaten += bytes(20_000_000)
    print("up", flush=True)
    time.sleep(1000)
os.wait()
print("up", flush=True)
time.sleep(1000)
"""
    vm = manager.allocate(VMConfig("x", [*PYTHON, body]))
    lines = iter(manager.follow(vm))
    assert [next(lines).text, next(lines).text] == ["up", "up"]
    usage = manager.usage(vm)
    assert usage.processes == 3
    assert usage.threads == 3
    assert usage.memory > 80_000_000
    assert usage.open_files >= 9
    assert usage.cpu_time > 0
    assert usage.cpu_percent is None
    assert manager.usage(vm).cpu_percent is not None


def test_what_a_program_has_left_is_counted(manager: VMManager) -> None:
    words = "trap '' TERM; (trap '' TERM; while :; do sleep 1000; done) & exit 0"
    config = VMConfig("x", ["sh", "-c", words], stop=StopPolicy(grace=1000))
    vm = manager.wait(manager.allocate(config))
    assert vm.state is VMState.EXITED
    assert manager.usage(vm).processes >= 1
    manager.remove(vm, grace=0)


def test_nothing_is_used_by_what_has_ended(manager: VMManager) -> None:
    vm = manager.wait(manager.allocate(VMConfig("x", ["true"])))
    manager.usage(vm)
    assert manager.reset(vm).generation == 2
    manager.wait(vm)
    manager.remove(vm)
    with pytest.raises(VMNotFoundError):
        manager.usage(vm)


def test_ends_and_removals_meanwhile_are_no_failure(manager: VMManager) -> None:
    """Asked without pause while processes come and go, and the VM with them."""
    over = threading.Event()
    failures: list[Exception] = []
    asked = 0

    def ask() -> None:
        nonlocal asked
        while not over.is_set():
            try:
                usage = manager.usage("x")
                assert usage.processes >= 0
                asked += 1
            except (VMNotFoundError, ManagerClosedError):
                continue
            except Exception as e:
                failures.append(e)
                return

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    churn = ["sh", "-c", "while :; do true | cat | sleep 0.001 & wait; done"]
    for number in range(10):
        vm = manager.allocate(VMConfig("x", churn, restart="always"))
        begun = asked
        while asked < begun + 5 and not failures:
            manager.usage(vm)
        if number % 2:
            manager.reset(vm)
        manager.remove(vm)
    over.set()
    for thread in threads:
        thread.join()
    assert failures == []
