"""Thousands of virtual hours against a small model, with invariants after each step."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from procvm import (
    DuplicateNameError,
    FakeBackend,
    FakeProgram,
    StartError,
    VMConfig,
    VMManager,
    VMNotFoundError,
    VMState,
    probes,
)  # fmt: skip

NAMES = st.sampled_from(["a", "b", "c"])
PROGRAMS = st.builds(
    FakeProgram,
    start_after=st.sampled_from([0.0, 0.5]),
    ready_after=st.sampled_from([0.0, 1.0, 50.0]),
    exit_after=st.sampled_from([None, 0.2, 5.0, 100.0]),
    exit_code=st.sampled_from([0, 1]),
    ignores=st.sampled_from([(), (15,)]),
    stop_takes=st.sampled_from([0.0, 2.0, 30.0]),
)


class Life(RuleBasedStateMachine):
    """Verbs, crashes and time in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeBackend(seed=7)
        self.manager = VMManager(self.fake)
        self.generations: dict[str, int] = {}

    def teardown(self) -> None:
        self.manager.close()

    @rule(name=NAMES, lives=st.lists(PROGRAMS, min_size=1, max_size=3))
    def script(self, name: str, lives: list[FakeProgram]) -> None:
        self.fake.program(name, *lives)

    @rule(
        name=NAMES,
        restart=st.sampled_from(["never", "on-failure", "always"]),
        ready=st.sampled_from([None, probes.tcp(80)]),
    )
    def allocate(self, name: str, restart: Any, ready: Any) -> None:
        there = name in {vm.name for vm in self.manager.list()}
        try:
            vm = self.manager.allocate(VMConfig(name, "x", restart=restart, ready=ready))
        except DuplicateNameError:
            assert there
        except StartError:
            assert name not in {vm.name for vm in self.manager.list()}
        else:
            assert not there
            assert vm.generation >= 1

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        there = name in {vm.name for vm in self.manager.list()}
        try:
            assert self.manager.remove(name).state is VMState.REMOVED
            assert there
        except VMNotFoundError:
            assert not there
        assert name not in {vm.name for vm in self.manager.list()}

    @rule(name=NAMES)
    def reset(self, name: str) -> None:
        try:
            assert self.manager.reset(name).restarts == 0
        except VMNotFoundError:
            assert name not in {vm.name for vm in self.manager.list()}
        except StartError:
            assert self.manager.get(name).state is VMState.FAILED

    @rule(name=NAMES, code=st.sampled_from([0, 1]))
    def crash(self, name: str, code: int) -> None:
        try:
            self.fake.crash(name, code)
        except VMNotFoundError:
            assert name not in {vm.name for vm in self.manager.list()}

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 60.0, 3600.0]))
    def advance(self, seconds: float) -> None:
        self.fake.advance(seconds)

    @invariant()
    def health_agrees_with_the_states(self) -> None:
        vms = self.manager.list()
        report = self.manager.health()
        assert {vm.vm_id for vm in report.unhealthy} == {vm.vm_id for vm in vms if not vm.healthy}
        assert report.total == len(vms)
        assert len({vm.name for vm in vms}) == len(vms)

    @invariant()
    def a_generation_only_grows(self) -> None:
        for vm in self.manager.list():
            assert vm.generation >= self.generations.get(vm.vm_id, 1)
            self.generations[vm.vm_id] = vm.generation
            assert (vm.pid is not None) <= (vm.state not in (VMState.EXITED, VMState.BACKOFF))

    @invariant()
    def the_history_explains_what_is_removed(self) -> None:
        removed = {e.vm.vm_id for e in self.manager.history() if e.kind == "removed"}
        assert not removed & {vm.vm_id for vm in self.manager.list()}


Life.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
TestLife = Life.TestCase
