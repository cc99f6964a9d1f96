from __future__ import annotations

import random

import pytest

from procvm import (
    FakeBackend,
    FakeProgram,
    RestartPolicy,
    UnreachableStateError,
    VMConfig,
    VMManager,
)
from procvm.backends.fake._clock import Clock


def test_cancelled_calls_are_not_kept_while_time_stands_still() -> None:
    backend = FakeBackend()
    with VMManager(backend) as manager:
        for _ in range(1000):
            manager.remove(manager.allocate(VMConfig("web", "sleep 5")))
        assert len(backend._clock._heap) <= 200


def test_what_is_dropped_changes_no_order() -> None:
    rng, clock, called = random.Random(1), Clock(), list[int]()
    delays = [rng.choice([0.0, 1.0, rng.random()]) for _ in range(2000)]
    timers = [
        clock.call_later(delay, lambda number=number: called.append(number))  # type: ignore[misc]
        for number, delay in enumerate(delays)
    ]
    kept = set(rng.sample(range(2000), 300))
    for number in rng.sample(range(2000), 2000):
        if number not in kept:
            timers[number].cancel()
            timers[number].cancel()
    while clock.next_at() is not None:
        clock.pop()()
    assert called == sorted(kept, key=lambda number: (delays[number], number))


def test_what_a_caller_resets_again_and_again_is_no_storm() -> None:
    with VMManager(FakeBackend()) as manager:
        manager.allocate(VMConfig("web", "x"))
        for _ in range(10_050):
            vm = manager.reset("web")
        assert vm.generation == 10_051


def test_restarts_without_end_at_one_moment_are_told() -> None:
    fake = FakeBackend()
    fake.program("storm", FakeProgram(exit_after=0.0))
    restless = RestartPolicy("always", initial=0.0, jitter=0.0, limit=None)
    with VMManager(fake) as manager:
        with pytest.raises(UnreachableStateError, match="time stands still"):
            manager.wait(manager.allocate(VMConfig("storm", "x", restart=restless)))
        with pytest.raises(RuntimeError, match="time stands still"):
            fake.advance(1.0)
        assert manager.get("storm").restarts > 100
