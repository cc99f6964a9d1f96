"""Faults of the clock: the wall may jump; what decides is monotonic."""

from __future__ import annotations

import itertools
import time

import pytest

from procvm import RestartPolicy, StopPolicy, VMConfig, VMManager, VMState, probes

DAY = 86_400.0


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the wall clock jump a day forth and two back, at every look."""
    real, jumps = time.time, itertools.cycle([0.0, DAY, -DAY])
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))


@pytest.mark.usefixtures("jumping")
def test_69_a_jump_of_the_wall_ends_no_grace_early_and_none_late(manager: VMManager) -> None:
    deaf = "trap '' TERM; echo deaf; while :; do sleep 1000; done"
    manager.allocate(VMConfig("x", ["sh", "-c", deaf], stop=StopPolicy(grace=0.4)))
    next(iter(manager.follow("x")))
    began = time.monotonic()
    manager.remove("x")
    assert 0.4 <= time.monotonic() - began < 10


@pytest.mark.usefixtures("jumping")
def test_69_a_jump_of_the_wall_is_nothing_to_a_start(manager: VMManager) -> None:
    config = VMConfig(
        "x", ["sh", "-c", "sleep 0.2; echo ready; sleep 1000"],
        ready=probes.log("ready", timeout=30),
    )  # fmt: skip
    assert manager.allocate(config).state is VMState.RUNNING


@pytest.mark.usefixtures("jumping")
def test_69_a_jump_of_the_wall_is_nothing_to_a_restart(manager: VMManager) -> None:
    policy = RestartPolicy(initial=0.05, limit=3, within=60.0)
    manager.allocate(VMConfig("x", ["false"], restart=policy))
    ended = manager.wait("x", VMState.FAILED, timeout=30)
    assert ended.restarts == 3
    assert "used up" in ended.reason
