"""A script under a name that no VM has is told where somebody looks."""

from __future__ import annotations

import pytest

from procvm import (
    FakeBackend,
    FakeProgram,
    UnreachableStateError,
    VMConfig,
    VMManager,
    VMNotFoundError,
)

ENDS = FakeProgram(exit_after=60.0)
TOLD = "VM 'web' has no script, and no VM has the name of the script 'wbe'"


def test_a_misnamed_script_is_told_once_when_time_is_moved(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with VMManager(fake := FakeBackend()) as manager:
        fake.program("wbe", ENDS)
        manager.allocate(VMConfig("web", "run"))
        assert caplog.text == ""  # the VM of that name may still come
        fake.advance(1.0)
        fake.advance(1.0)
        manager.reset("web")
    assert [message.partition(";")[0] for message in caplog.messages] == [TOLD]


def test_a_misnamed_script_is_told_at_the_end_at_the_latest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with VMManager(fake := FakeBackend()) as manager:
        fake.program("wbe", ENDS)
        manager.allocate(VMConfig("web", "run"))
    assert [message.partition(";")[0] for message in caplog.messages] == [TOLD]


def test_what_can_never_come_is_said_once_and_why() -> None:
    with VMManager(fake := FakeBackend()) as manager:
        fake.program("wbe", ENDS)
        vm = manager.allocate(VMConfig("web", "run"))
        with pytest.raises(UnreachableStateError) as caught:
            manager.wait(vm)
        assert caught.value.why == f"no event is left in virtual time; {TOLD}"
        assert str(caught.value).count(" ever ") == 0


def test_scripts_and_names_that_are_right_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    with VMManager(fake := FakeBackend()) as manager:
        for name in ("worker-1", "web", "far"):
            fake.program(name, ENDS)
        manager.allocate(VMConfig("worker-0", "run"))  # differs in a number, as it may
        manager.allocate(VMConfig("wbe", "run"))  # beside a web that has its script
        manager.allocate(VMConfig("web", "run"))
        fake.program("wbe", ENDS)  # for its next life
        fake.advance(1.0)
    assert caplog.text == ""


def test_a_crash_of_a_mistyped_name_is_told_the_names_that_look_like_it() -> None:
    with VMManager(fake := FakeBackend()) as manager:
        for name in ("w000", "web"):
            manager.allocate(VMConfig(name, "run"))
        with pytest.raises(VMNotFoundError, match=r"no VM 'w00'; did you mean 'w000'\?$") as one:
            fake.crash("w00")
        assert one.value.near == ("w000",)
        manager.remove("w000")
        with pytest.raises(VMNotFoundError) as caught:
            fake.crash("w00")
        assert caught.value.near == ()
