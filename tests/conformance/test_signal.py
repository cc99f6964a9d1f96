"""A signal is sent by its number or by its name."""

from __future__ import annotations

import signal

from procvm import VMConfig, VMManager


def test_a_signal_has_a_number_or_a_name_and_is_silent_to_who_has_ended() -> None:
    with VMManager() as manager:
        for one in (9, signal.SIGKILL, "SIGKILL", "KILL"):
            vm = manager.allocate(VMConfig("sleep", ["sleep", "1000"]))
            manager.signal(vm, one)
            ended = manager.wait(vm, timeout=30.0).exit
            assert ended is not None
            assert ended.signal == signal.SIGKILL
            manager.signal(vm, one)
            manager.remove(vm)
