"""Checks of what every engine needs of a backend: clocks, identities, calls, timers, listeners."""

from __future__ import annotations

import re
import threading
from typing import Any

from ...errors import ConfigError, StartError
from ...manager import VMManager
from .._leaks import no_leaks
from ._bench import Bench, Check, closed_after, raises

__all__ = ["CHECKS"]

_ID = re.compile(r"[0-9a-f]{32}")
_MOMENT = 0.02


def a_backend_has_one_engine(bench: Bench) -> None:
    """A second manager over the same backend is refused with a ConfigError."""
    with raises(ConfigError):
        second = VMManager(bench.backend)
        second.core.abandon()  # only the first one is to close it


def an_identity_is_128_bits_and_never_comes_twice(bench: Bench) -> None:
    """What new_id returns is 32 hex digits, and another one each time."""
    ids = [bench.backend.new_id() for _ in range(1000)]
    assert all(_ID.fullmatch(one) for one in ids), ids[0]
    assert len(set(ids)) == len(ids)


def chance_lies_between_minus_one_and_one(bench: Bench) -> None:
    """Chance is drawn anew each time, and is never outside of -1 to 1."""
    drawn = [bench.backend.chance() for _ in range(1000)]
    assert all(-1.0 <= one <= 1.0 for one in drawn)
    assert min(drawn) < 0.0 < max(drawn)


def monotonic_time_never_falls(bench: Bench) -> None:
    """What decides is a clock that only grows; for people there is the Unix time."""
    seen = [bench.backend.monotonic() for _ in range(1000)]
    assert seen == sorted(seen)
    year = 365 * 86400
    assert bench.backend.wall() > 30 * year, "the wall clock is no Unix time"


def posted_calls_run_in_their_order(bench: Bench) -> None:
    """Calls of one thread run in the order in which it posted them, one after the other."""
    ran: list[tuple[int, int]] = []
    at_once: list[int] = []

    def call(poster: int, number: int) -> None:
        at_once.append(1)
        assert len(at_once) == 1, "two calls at the same time"
        ran.append((poster, number))
        at_once.pop()

    def post(poster: int) -> None:
        for number in range(100):
            bench.backend.post(lambda n=number: call(poster, n))

    posters = [threading.Thread(target=post, args=(number,)) for number in range(4)]
    for thread in posters:
        thread.start()
    for thread in posters:
        thread.join()
    bench.loop(lambda: True)
    for poster in range(4):
        assert [n for p, n in ran if p == poster] == list(range(100))


def a_waiter_is_woken_or_its_time_is_up(bench: Bench) -> None:
    """Block returns True when the waiter was set, before or meanwhile, and False by time."""
    waiter = bench.backend.waiter()
    assert not waiter.is_set()
    assert bench.backend.block(waiter, _MOMENT) is False
    bench.backend.post(waiter.set)
    bench.backend.block(waiter, None)
    assert waiter.is_set()
    assert bench.backend.block(waiter, 0.0) is True


def timers_fire_in_the_order_of_their_times(bench: Bench) -> None:
    """A timer runs in the loop after its delay; one that was cancelled never runs."""
    fired: list[Any] = []
    done = bench.backend.waiter()
    began = bench.backend.monotonic()

    def fire(name: str) -> None:
        fired.append((name, bench.backend.monotonic() - began, threading.get_ident()))

    def last() -> None:
        fire("late")
        done.set()

    def arm() -> int:
        later = bench.backend.call_later
        later(3 * _MOMENT, last)
        later(2 * _MOMENT, lambda: fire("never")).cancel()
        twice = later(2 * _MOMENT, lambda: fire("never"))
        twice.cancel()
        twice.cancel()
        later(_MOMENT, lambda: fire("early"))
        return threading.get_ident()

    loop = bench.loop(arm)
    bench.backend.block(done, None)
    assert [name for name, _, _ in fired] == ["early", "late"]
    for (_, at, thread), due in zip(fired, (_MOMENT, 3 * _MOMENT), strict=True):
        assert at >= due * 0.99, "a timer came early"
        assert bench.is_virtual or thread == loop, "a timer ran outside of the loop"


def a_listener_gets_all_in_order_and_its_failures_are_its_own(bench: Bench) -> None:
    """Items come in order, off the loop; an exception of the callback ends nothing."""
    got: list[tuple[int, int]] = []
    done = threading.Event()

    def callback(item: int) -> None:
        got.append((item, threading.get_ident()))
        if item == 99:  # noqa: PLR2004 - the last one
            done.set()
        if item % 10 == 0:
            raise RuntimeError("a subscriber of the check that fails on purpose")

    listener = bench.backend.listen(callback, name="procvm-check")
    loop = bench.loop(lambda: [listener.put(n) for n in range(100)] and threading.get_ident())
    bench.until(done.is_set, "the last item was delivered")
    assert [item for item, _ in got] == list(range(100))
    assert bench.is_virtual or loop not in {thread for _, thread in got}
    listener.stop()
    bench.loop(lambda: (listener.put(100), True))
    bench.loop(lambda: True)
    assert len(got) == 100, "an item came after stop"  # noqa: PLR2004 - as above


def to_look_starts_nothing(bench: Bench) -> None:
    """Resolve answers with a plan, or with a StartError, and tells the sink nothing."""
    plan = bench.backend.resolve(bench.config("web"), "/")
    assert plan.config == bench.config("web")
    try:
        bench.backend.resolve(bench.config("absent"), "/")
    except StartError as error:
        assert error.name in ("absent", "")  # noqa: PT017 - not to raise is right as well
    bench.loop(lambda: True)
    assert bench.sink is not None
    assert not bench.sink.told


def what_nothing_of_lives_uses_nothing(bench: Bench) -> None:
    """Usage counts the processes of what lives, and is zeros of what has ended."""
    bench.manager.allocate(bench.config("web"))
    assert bench.manager.usage("web").processes >= 1
    bench.manager.allocate(bench.config("quick"))
    bench.manager.wait("quick")
    usage = bench.manager.usage("quick")
    assert (usage.processes, usage.memory, usage.open_files) == (0, 0, 0)


def a_backend_closes_twice_and_unused(bench: Bench) -> None:
    """Close is silent when nothing was ever started, and when it is called again."""
    other = bench.make()
    manager = VMManager(other)
    manager.close()
    other.close()
    other.close()
    assert isinstance(bench.backend.capabilities.degraded, tuple)


def a_closed_backend_leaves_no_thread_process_or_descriptor(bench: Bench) -> None:
    """What it needed for itself ends with it."""
    with no_leaks(patience=bench.patience), closed_after(bench.twin()) as one:
        one.manager.allocate(one.config("web"))


CHECKS: tuple[Check, ...] = (
    a_backend_has_one_engine, an_identity_is_128_bits_and_never_comes_twice,
    chance_lies_between_minus_one_and_one, monotonic_time_never_falls,
    posted_calls_run_in_their_order, a_waiter_is_woken_or_its_time_is_up,
    timers_fire_in_the_order_of_their_times,
    a_listener_gets_all_in_order_and_its_failures_are_its_own, to_look_starts_nothing,
    what_nothing_of_lives_uses_nothing, a_backend_closes_twice_and_unused,
    a_closed_backend_leaves_no_thread_process_or_descriptor,
)  # fmt: skip
