"""One pass over the processes serves all that look in one turn of the loop."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from procvm.backends.base import Key, Plan
from procvm.backends.subprocess import _members, _passes
from procvm.backends.subprocess._held import Held


class PlayedLoop:
    """Keeps what is posted, and says that it is late."""

    def __init__(self) -> None:
        self.posted: list[Callable[[], None]] = []

    def post(self, call: Callable[[], None]) -> None:
        self.posted.append(call)

    def monotonic(self) -> float:
        return 1e6

    def turn(self) -> None:
        calls, self.posted = self.posted, []
        for call in calls:
            call()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many trees each pass has looked at."""
    seen: list[int] = []
    looks = _members.looks

    def counting(trees: dict[str, int | None]) -> dict[str, _members.Look]:
        seen.append(len(trees))
        return looks(trees)

    monkeypatch.setattr(_passes, "looks", counting)
    return seen


@pytest.fixture
def three() -> Iterator[list[Held]]:
    processes = [
        subprocess.Popen(
            ["sh", "-c", "sleep 1000 & echo $!; wait"], start_new_session=True,
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]  # fmt: skip
    plan = Plan.__new__(Plan)  # not looked at
    yield [Held(Key(str(one.pid), 1), plan, one, began=0.0) for one in processes]
    for one in processes:
        os.killpg(one.pid, signal.SIGKILL)
        one.communicate()


def seen_of(told: dict[int, list[int]], held: Held, look: _members.Look) -> None:
    told[held.pid] = [member.pid for member in look.left]


def child_of(held: Held) -> int:
    assert held.process.stdout is not None
    return int(held.process.stdout.readline())


def test_who_looks_in_one_turn_looks_in_one_pass(counted: list[int], three: list[Held]) -> None:
    loop, told = PlayedLoop(), dict[int, list[int]]()
    passes = _passes.Passes(loop)  # type: ignore[arg-type] # what it needs of one
    for held in three:
        passes.soon(held, partial(seen_of, told, held))
    assert told == {}
    children = {held.pid: [child_of(held)] for held in three}
    loop.turn()
    assert counted == [3]
    assert told == children
    passes.spare.close()


def test_one_that_fails_costs_the_others_nothing(three: list[Held]) -> None:
    loop, told = PlayedLoop(), list[int]()
    passes = _passes.Passes(loop)  # type: ignore[arg-type] # the same
    for held in three:
        passes.soon(held, lambda _, pid=held.pid: told.append(1 // (pid - three[0].pid)))  # type: ignore[misc]
    with pytest.raises(ZeroDivisionError):
        loop.turn()
    loop.turn()
    assert len(told) == 2
    passes.spare.close()


def test_a_pass_that_fails_is_told_to_all_as_one_that_saw_nothing(
    three: list[Held], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_memory(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(_passes, "looks", no_memory)
    loop, told = PlayedLoop(), list[_members.Look]()
    passes = _passes.Passes(loop)  # type: ignore[arg-type] # the same
    three[0].handle = os.open(os.devnull, os.O_RDONLY)  # no pidfd: somebody has closed that
    for held in three:
        passes.soon(held, told.append)
    loop.turn()
    assert [look.is_blind for look in told] == [True] * 3  # who is blind looks again
    assert "MemoryError" in caplog.text
    passes.spare.close()
    os.close(three[0].handle)


def test_where_no_number_was_given_out_since_nobody_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    last = [1000]
    monkeypatch.setattr(_members, "_last_number", lambda: last[0])
    monkeypatch.setattr(_members, "stat_of", lambda _: pytest.fail("looked at"))
    look = _members.members(1000, "0" * 32, range(1000, 1001))
    assert (look.left, look.is_sure, look.is_still) == ([], True, True)
    last[0] = 1001  # one was just now: the next pass looks at it
    assert not _members.members(1000, "0" * 32, range(1000, 1001)).is_still
