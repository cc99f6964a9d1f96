"""A bounded history that is fair: who tells most loses first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procvm import FakeBackend, FakeProgram, RestartPolicy, VMConfig, VMManager, VMNotFoundError
from procvm.engine import History
from procvm.values import VMEvent


def _event(vm_id: str) -> VMEvent:
    with VMManager(FakeBackend(seed=ord(vm_id))) as manager:
        vm = manager.allocate(VMConfig(vm_id, "x"))
    return VMEvent("removed", vm, 0.0)


EVENTS = [_event(name) for name in "abc"]


@given(st.lists(st.sampled_from(EVENTS), max_size=200), st.integers(3, 30))
def test_it_is_bounded_fair_and_counts_what_it_dropped(told: list[VMEvent], kept: int) -> None:
    history = History(kept)
    for event in told:
        history.add(event)
    left = history.events()
    assert min(len(told), kept) <= len(left) < 2 * kept
    assert history.dropped() == len(told) - len(left)
    for event in EVENTS:
        for key in (event.vm.vm_id, event.vm.name):
            assert history.removed(key) == (event.vm if event in left else None)
        mine, theirs = told.count(event), left.count(event)
        if theirs:
            assert history.dropped(event.vm.vm_id) == mine - theirs
        if mine <= kept // len(EVENTS):
            assert theirs == mine  # nobody else's loss is its own


def test_who_crashes_all_day_drives_out_nobody_else() -> None:
    fake = FakeBackend()
    fake.program("tired", FakeProgram(exit_after=0.5, exit_code=1))
    with VMManager(fake) as manager:
        manager.allocate(VMConfig("steady", "x"))
        manager.reset("steady")
        policy = RestartPolicy("always", initial=0.01, maximum=0.01, limit=None)
        manager.allocate(VMConfig("tired", "x", restart=policy))
        fake.advance(5000.0)
        kinds = [event.kind for event in manager.history("steady")]
        assert kinds[:3] == ["allocated", "started", "ready"]
        assert len(kinds) == 7
        assert manager.timeline("steady").forgotten == 0
        timeline = manager.timeline("tired")
        assert timeline.forgotten == manager.timeline().forgotten > 10_000


def test_one_removed_long_ago_has_a_history_while_its_events_are_kept() -> None:
    with VMManager(FakeBackend()) as manager:
        first = manager.allocate(VMConfig("first", "x"))
        manager.remove(first)
        for number in range(150):
            manager.remove(manager.allocate(VMConfig(f"vm{number}", "x")))
        for vm in (first, first.vm_id, "first"):
            assert manager.history(vm)[-1].kind == "removed"
            assert {row["name"] for row in manager.timeline(vm).to_rows()} == {"first"}
        with pytest.raises(VMNotFoundError, match="'first' was removed"):
            manager.logs("first")
        with pytest.raises(VMNotFoundError, match="there is no VM 'never';"):
            manager.history("never")
