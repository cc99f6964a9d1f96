"""Times of years and more: nothing overflows, nobody waits."""

from __future__ import annotations

import pytest

from procvm import StopPolicy, SubprocessBackend, VMConfig, VMManager, VMState, probes

FOR_EVER = 1e300


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_a_time_beyond_every_clock_hurts_nobody(containment: str) -> None:
    with VMManager(SubprocessBackend(containment)) as manager:  # type: ignore[arg-type] # a word
        alive = probes.file("/", interval=FOR_EVER, timeout=FOR_EVER)
        ready = probes.file("/", timeout=FOR_EVER)
        stop = StopPolicy(grace=FOR_EVER)
        manager.allocate(
            VMConfig("x", ["sleep", "1000"], ready=ready, alive=alive, stop=stop, restart="always")
        )
        assert manager.remove("x").state is VMState.REMOVED
        leaves = ["sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000; sleep 1000"]
        manager.allocate(VMConfig("deaf", leaves, stop=stop))
        assert manager.allocate(VMConfig("y", ["sleep", "1000"])).state is VMState.RUNNING
        assert manager.remove("deaf", grace=0.1).state is VMState.REMOVED
