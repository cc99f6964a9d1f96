"""Checks of how programs end, by themselves and when they are asked."""

from __future__ import annotations

import signal

import psutil

from ...config import StopPolicy
from ...errors import ManagerClosedError, UnreachableStateError, WaitTimeoutError
from ...facts import VMState
from ._bench import Bench, Check, raises

__all__ = ["CHECKS"]


def an_end_is_told_with_its_code(bench: Bench) -> None:
    """Success and failure are told apart, each with the code that the program gave."""
    manager = bench.manager
    manager.allocate(bench.config("quick"))
    quick = manager.wait("quick")
    assert quick.state is VMState.EXITED
    assert quick.exit is not None
    assert (quick.exit.code, quick.exit.signal) == (0, None)
    assert quick.pid is None
    manager.allocate(bench.config("bad"))
    bad = manager.wait("bad")
    assert bad.state is VMState.FAILED
    assert bad.exit is not None
    assert (bad.exit.code, bad.exit.signal, bad.exit.expected) == (3, None, False)
    assert manager.health().unhealthy == (bad,)
    assert "3" in bad.reason


def an_end_by_a_signal_is_told_with_the_signal(bench: Bench) -> None:
    """A signal that was sent arrives, and is what ended the program: no code is invented."""
    manager = bench.manager
    for number in (signal.SIGKILL, signal.SIGTERM):
        vm = manager.allocate(bench.config(f"web{int(number)}"))
        manager.signal(vm, number)
        ended = manager.wait(vm)
        assert ended.exit is not None
        assert (ended.exit.code, ended.exit.signal) == (None, int(number))
        assert not ended.exit.expected


def what_does_not_hear_is_killed_at_the_end_of_its_grace(bench: Bench) -> None:
    """A polite signal first; after the grace SIGKILL."""
    bench.manager.allocate(bench.config("deaf"))
    assert bench.first_line("deaf") == "deaf"
    began = bench.backend.monotonic()
    gone = bench.manager.remove("deaf", grace=0.2)
    assert gone.exit is not None
    assert gone.exit.signal == signal.SIGKILL
    assert bench.backend.monotonic() - began >= 0.19, "its grace was cut short"  # noqa: PLR2004 - nearly


def a_shorter_grace_hurries_a_stop(bench: Bench) -> None:
    """A second stop with less grace is heard: nobody waits for the first one's to pass."""
    bench.manager.allocate(bench.config("deaf"))
    assert bench.first_line("deaf") == "deaf"
    began = bench.backend.monotonic()
    bench.manager.core.request("remove", "deaf", 1000.0)
    gone = bench.manager.remove("deaf", grace=0.1)
    assert gone.exit is not None
    assert gone.exit.signal == signal.SIGKILL
    assert bench.backend.monotonic() - began < 1000.0  # noqa: PLR2004 - its first grace


def a_stop_asks_with_the_signal_of_its_policy(bench: Bench) -> None:
    """What a program is asked to end with is its configuration's."""
    stop = StopPolicy(signal.SIGINT, grace=bench.patience)
    bench.manager.allocate(bench.config("serves", stop=stop))
    assert bench.first_line("serves") == "up"
    gone = bench.manager.remove("serves")
    assert gone.exit is not None
    assert gone.exit.signal == signal.SIGINT


def a_removal_returns_when_the_whole_tree_is_gone(bench: Bench) -> None:
    """Not only the main process ends: what it started is gone as well."""
    bench.manager.allocate(bench.config("family"))
    child = int(bench.first_line("family"))
    assert bench.is_virtual or _lives(child)
    bench.manager.remove("family")
    assert not _lives(child), "remove returned while a process of the tree was alive"


def what_an_ended_program_left_is_taken_away(bench: Bench) -> None:
    """The main process ends by itself; the child that it left behind does not stay."""
    bench.manager.allocate(bench.config("orphans"))
    child = int(bench.first_line("orphans"))
    assert bench.manager.wait("orphans").state is VMState.EXITED
    bench.manager.remove("orphans")
    assert not _lives(child), "a process that outlived its parent was left"


def a_wait_ends_by_time_or_because_it_is_in_vain(bench: Bench) -> None:
    """A wait never lasts longer than it makes sense."""
    bench.manager.allocate(bench.config("web"))
    with raises(WaitTimeoutError):
        bench.manager.wait("web", VMState.EXITED, timeout=0.01)
    bench.manager.allocate(bench.config("quick"))
    with raises(UnreachableStateError):
        bench.manager.wait("quick", VMState.BACKOFF)


def everything_ends_with_close(bench: Bench) -> None:
    """Close removes all, side by side, and may be called again."""
    manager = bench.manager
    for number in range(5):
        manager.allocate(bench.config(f"vm{number}"))
    manager.close()
    manager.close()
    with raises(ManagerClosedError):
        manager.allocate(bench.config("late"))
    with raises(ManagerClosedError):
        manager.list()
    assert sum(event.kind == "removed" for event in manager.history()) == 5  # noqa: PLR2004 - as above


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


CHECKS: tuple[Check, ...] = (
    an_end_is_told_with_its_code, an_end_by_a_signal_is_told_with_the_signal,
    what_does_not_hear_is_killed_at_the_end_of_its_grace,
    a_shorter_grace_hurries_a_stop, a_stop_asks_with_the_signal_of_its_policy,
    a_removal_returns_when_the_whole_tree_is_gone, what_an_ended_program_left_is_taken_away,
    a_wait_ends_by_time_or_because_it_is_in_vain, everything_ends_with_close,
)  # fmt: skip
