"""What a caller waits with: no wake-up is lost, and none reaches another caller."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from looking import until

from procvm import (
    VM,
    StartError,
    SubprocessBackend,
    VMConfig,
    VMManager,
    VMNotFoundError,
)
from procvm.backends.subprocess._bells import Bell, Bells, LockBell, PipeBell
from procvm.backends.subprocess._calls import CALLS
from procvm.backends.subprocess._reactor import ReactorThread
from procvm.backends.subprocess._waiter import BellWaiter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes wake on Linux alone")

LONG = 60.0


@pytest.fixture
def reactor() -> Iterator[ReactorThread]:
    reactor = ReactorThread()
    yield reactor
    reactor.close()


@pytest.fixture
def bells(reactor: ReactorThread) -> Iterator[Bells]:
    """With one that is there already."""
    bells = Bells(reactor)
    flush(reactor)
    yield bells
    bells.close()


def flush(reactor: ReactorThread) -> None:
    """Return when the loop has done what was posted."""
    done = threading.Event()
    reactor.post(done.set)
    assert done.wait(LONG)


def pipes() -> set[str]:
    found = set()
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(fd.readlink()))
    return {name for name in found if name.startswith("pipe:")}


@pytest.mark.parametrize("make", [LockBell, PipeBell])
def test_a_bell_rings_once_and_is_silent_after_its_reset(make: Callable[[], Bell]) -> None:
    bell = make()
    for _ in range(3):
        assert not bell.wait(0.001)
        threading.Timer(0.002, bell.ring).start()
        assert bell.wait(LONG)
        assert bell.wait(LONG), "until the reset it goes on ringing"
        bell.reset()
    assert not bell.wait(0.001)


def test_there_is_one_pipe_from_the_beginning(reactor: ReactorThread) -> None:
    bells = Bells(reactor)
    assert isinstance(bells.take(), LockBell), "no loop is begun for a bell"
    before = pipes()
    flush(reactor)
    first = bells.take()
    assert isinstance(first, PipeBell)
    assert isinstance(bells.take(), LockBell), "the next waits with a lock"
    flush(reactor)
    bells.give_back(first)
    assert bells.take() is first
    assert len(pipes() - before) == 1
    del first  # as an interrupt does
    assert isinstance(bells.take(), LockBell)
    flush(reactor)
    assert isinstance(bells.take(), PipeBell)
    bells.close()
    assert pipes() <= before


def test_set_and_timeout_may_meet(bells: Bells) -> None:
    """Whoever comes first: the answer is true, and the bell is silent for who has it next."""
    chance = random.Random(20)
    for _ in range(2000):
        waiter, pause = BellWaiter(bells), chance.uniform(0, 0.0004)
        thread = threading.Timer(pause, waiter.set)
        thread.start()
        told = waiter.wait(chance.uniform(0, 0.0004))
        assert told <= waiter.is_set()
        assert waiter.wait(LONG)
        thread.join(LONG)
    bell = bells.take()
    assert isinstance(bell, PipeBell)
    assert not bell.wait(0)


def test_two_may_wait_for_the_same(bells: Bells) -> None:
    waiter, told = BellWaiter(bells), []
    threads = [
        threading.Thread(target=lambda: told.append(waiter.wait(LONG)), daemon=True)
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    waiter.set()
    for thread in threads:
        thread.join(LONG)
    assert told == [True] * 4


def test_a_bell_whose_wait_was_interrupted_rings_for_nobody_else(bells: Bells) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = pipes()
    was = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(20):
            waiter = BellWaiter(bells)
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the wait may begin late
                signal.setitimer(signal.ITIMER_REAL, 0.01)
                waiter.wait(LONG)
            waiter.set()
            assert waiter.wait(LONG)
            assert not bells.take().wait(0)
    finally:
        signal.signal(signal.SIGALRM, was)
    del waiter
    flush(bells._reactor)
    assert len(pipes() - before) <= 1, "the descriptors of those that were dropped are closed"


def test_one_that_is_waited_for_at_close_is_closed_after_the_wait(bells: Bells) -> None:
    waiters = [BellWaiter(bells) for _ in range(30)]
    threads = [threading.Thread(target=w.wait, args=(LONG,), daemon=True) for w in waiters]
    for thread in threads:
        thread.start()
    until(lambda: all(waiter._waiting for waiter in waiters))
    before = pipes()
    bells.close()
    assert pipes() == before
    for waiter in waiters:
        waiter.set()
    for thread in threads:
        thread.join(LONG)
    assert len(before - pipes()) == 1
    assert isinstance(bells.take(), LockBell)


def test_who_is_told_while_the_loop_goes_on_keeps_its_timeout(bells: Bells) -> None:
    """The ring comes with the end of the loop's call, the answer is there before."""
    reactor, waiter, go = bells._reactor, BellWaiter(bells), threading.Event()
    is_waiting = threading.Event()

    def slow() -> None:
        is_waiting.wait(LONG)
        waiter.set()
        go.wait(LONG)

    reactor.post(slow)
    threading.Timer(0.01, is_waiting.set).start()
    assert waiter.wait(0.1)
    assert not go.is_set()
    go.set()
    flush(reactor)
    assert not bells.take().wait(0), "the late ring reaches nobody"


def test_a_call_after_the_end_is_run_whoever_else_runs_calls(reactor: ReactorThread) -> None:
    class Racing(collections.deque[Callable[[], None]]):
        def popleft(self) -> Callable[[], None]:
            self.clear()  # another thread is quicker
            return super().popleft()

    told: list[str] = []
    flush(reactor)
    reactor._last = Racing([lambda: told.append("last")])
    reactor.post(lambda: told.append("call"))
    flush(reactor)
    assert told == ["call"]


@pytest.mark.parametrize("is_slow", [False, True])
def test_a_predicate_holds_up_nobody_who_is_told_before_it(is_slow: bool) -> None:
    """It runs in the loop, and may even wait for a lock that who was told holds."""
    lock, told = threading.Lock(), dict[str, float]()
    with VMManager(SubprocessBackend("tree")) as manager:
        vm = manager.allocate(VMConfig("vm", ["sleep", "1000"]))

        def first() -> None:
            with lock:
                begun.set()
                manager.wait(vm, "failed", timeout=LONG)
            told["first"] = time.monotonic()

        def wants(now: VM) -> bool:
            if now.exit is None:
                return False
            if is_slow:
                time.sleep(0.5)
            else:
                with lock:
                    pass
            told["second"] = time.monotonic()
            return True

        begun = threading.Event()
        thread = threading.Thread(target=first, daemon=True)
        thread.start()
        assert begun.wait(LONG)
        until_waited_for(manager, 1)
        other = threading.Thread(target=lambda: manager.wait(vm, wants, timeout=LONG), daemon=True)
        other.start()
        until_waited_for(manager, 2)
        manager.signal(vm, signal.SIGKILL)
        for one in (thread, other):
            one.join(LONG)
    assert told["first"] < told["second"]


def until_waited_for(manager: VMManager, count: int) -> None:
    (entry,) = manager._core.engine.entries.values()
    until(lambda: len(entry.tickets) >= count)


def test_an_interrupted_close_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    before, close = pipes(), os.close

    def interrupted(fd: int) -> None:
        close(fd)
        raise KeyboardInterrupt

    for _ in range(3):
        bell = PipeBell()
        monkeypatch.setattr(os, "close", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bell.close()
        monkeypatch.undo()
    assert pipes() == before


FORKED_IN_A_HANDLER = """
import os, signal, sys
from procvm import ForkedManagerError, SubprocessBackend, VMConfig, VMManager
def handle(*_):
    global child
    child = os.fork()
with VMManager(SubprocessBackend("tree")) as manager:
    vm = manager.allocate(VMConfig("vm", ["sleep", "1000"]))
    child = None
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        manager.wait(vm, "failed", timeout=3.0)
    except ForkedManagerError:
        os._exit(7)
    except TimeoutError:
        assert child, "the child has a wait that is its own"
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


def test_a_child_forked_on_top_of_a_wait_is_told_so() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED_IN_A_HANDLER],
        timeout=100, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_without_a_descriptor_it_is_a_lock(
    reactor: ReactorThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_: int) -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pipe2", none_left)
    bells = Bells(reactor)
    flush(reactor)
    for _ in range(3):
        assert isinstance(bells.take(), LockBell)
        flush(reactor)
    waiter = BellWaiter(bells)
    threading.Timer(0.01, waiter.set).start()
    assert waiter.wait(LONG)


FORKED = """
import os, sys
from procvm import SubprocessBackend, VMConfig, VMManager
def pipes():
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    return {os.readlink(link) for link in links if os.path.exists(link)
            and os.readlink(link).startswith("pipe:")}
before = pipes()
with VMManager(SubprocessBackend("tree")) as manager:
    for _ in range(3):
        manager.remove(manager.allocate(VMConfig("vm", ["sleep", "1000"])))
    assert pipes() - before, "a pipe was to be there"
    child = os.fork()
    if child == 0:
        os._exit(len(pipes() - before))
    assert os.waitpid(child, 0)[1] == 0, "the child keeps copies"
    manager.allocate(VMConfig("vm", ["sleep", "1000"]))
assert pipes() == before, "some are left after close"
"""


def test_a_forked_child_keeps_no_pipe_and_close_leaves_none() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        timeout=100, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_handler_of_a_signal_may_use_verbs_within_a_verb() -> None:
    told: list[str] = []
    config = VMConfig("vm", ["sh", "-c", f"kill -USR1 {os.getpid()}; exec sleep 1000"])

    def handle(*_: object) -> None:
        told.append(manager.allocate(VMConfig("two", ["sleep", "1000"])).name)
        told.append(manager.remove("vm").name)

    with VMManager(SubprocessBackend("tree")) as manager:
        manager.remove(manager.allocate(VMConfig("warm", ["sleep", "1000"])))
        was = signal.signal(signal.SIGUSR1, handle)
        try:  # it comes while the start is waited for, or later
            with contextlib.suppress(StartError, VMNotFoundError):
                manager.wait(manager.allocate(config), lambda vm: vm.state == "removed")
        finally:
            signal.signal(signal.SIGUSR1, was)
    assert told == ["two", "vm"]


def test_a_handler_may_call_a_verb_while_one_wakes_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever the signal comes: here it does in the middle of a post."""
    told: list[str] = []

    def handle(*_: object) -> None:
        told.append(manager.allocate(VMConfig("two", ["sleep", "1000"])).name)

    def waking(event: int) -> None:
        wake(event)
        if threading.current_thread() is threading.main_thread() and not told:
            told.append("in")
            signal.raise_signal(signal.SIGUSR1)

    wake = CALLS.wake
    was = signal.signal(signal.SIGUSR1, handle)
    try:
        with VMManager(SubprocessBackend("tree")) as manager:
            manager.allocate(VMConfig("one", ["sleep", "1000"]))
            monkeypatch.setattr(CALLS, "wake", waking)
            manager.remove("one")
            assert [vm.name for vm in manager.list()] == ["two"]
    finally:
        signal.signal(signal.SIGUSR1, was)
    assert told == ["in", "two"]
