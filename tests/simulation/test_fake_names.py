"""A script under a name that no VM has is told where somebody looks."""

from __future__ import annotations

from typing import Any

import pytest

from procvm import (
    ConfigError,
    FakeBackend,
    FakeProgram,
    UnreachableStateError,
    VMConfig,
    VMManager,
    VMNotFoundError,
    VMState,
    WaitTimeoutError,
    probes,
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


def never(name: str, **scripts: FakeProgram) -> str:
    """Return what is said of a wait for the end of ``name`` where nothing can come."""
    with VMManager(fake := FakeBackend()) as manager:
        for one, program in scripts.items():
            fake.program(one, program)
        vm = manager.allocate(VMConfig(name, "run"))
        with pytest.raises(UnreachableStateError) as caught:
            manager.wait(vm)
        return caught.value.why.removeprefix("no event is left in virtual time")


def test_a_name_that_differs_in_its_letters_case_is_near() -> None:
    told = "; VM 'db' has no script, and no VM has the name of the script 'dB'"
    assert never("db", dB=ENDS) == told


def test_where_nothing_can_come_every_script_of_nobody_is_told() -> None:
    assert never("web", server=ENDS) == (
        "; VMs without a script: 'web'; scripts without a VM: 'server'"
    )
    assert never("web", b=ENDS, a=ENDS, d=ENDS, c=ENDS).endswith(": 'a', 'b', 'c'")
    assert never("web") == "; without a script, and so silent until they are stopped: 'web'"
    assert never("web", web=FakeProgram()) == ""


@pytest.mark.parametrize("limit", [None, 50.0])
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"wbe": ENDS}, "VM 'web' has no script, and no VM has the name of the script 'wbe'"),
        ({}, "without a script, and so silent until they are stopped: 'web'"),
        ({"web": FakeProgram(exit_code=3)}, "'web' has exit_code=3 and no exit_after"),
        ({"web": FakeProgram()}, None),
    ],
)
def test_a_wait_in_which_much_happens_tells_what_may_be_wrong(
    script: dict[str, FakeProgram], words: str | None, limit: float | None
) -> None:
    """A VM that is probed all the time has always something to come."""
    fake = FakeBackend()
    for name, program in script.items():
        fake.program(name, program)
    with VMManager(fake) as manager:
        manager.allocate(VMConfig("web", "x", alive=probes.tcp(1, interval=5.0)))
        with pytest.raises((UnreachableStateError, WaitTimeoutError)) as caught:
            manager.wait("web", timeout=limit)
    notes = getattr(caught.value, "__notes__", [])
    told = "; ".join([str(caught.value), *notes])
    assert "can never" not in told
    assert words is None or words in told
    assert words is not None or (notes == [] and told.endswith(("give a timeout", "its end")))


def test_a_script_that_was_set_after_the_start_is_told() -> None:
    fake = FakeBackend()
    with VMManager(fake) as manager:
        manager.allocate(VMConfig("web", "x"))
        fake.program("web", ENDS)
        late = "the script of 'web' was set after its start: its next one plays"
        assert fake.hints() == fake.hints("web") == [late]
        with pytest.raises(UnreachableStateError, match=late):
            manager.wait("web")
        manager.reset("web")
        assert fake.hints() == []
        manager.wait("web")


def test_an_end_that_was_scripted_without_its_time_is_told() -> None:
    told = "; the script of 'job' has {} and no exit_after: it never ends"
    assert never("job", job=FakeProgram(exit_code=3)) == told.format("exit_code=3")
    assert never("job", job=FakeProgram(exit_signal=9)) == told.format("exit_signal=9")


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


def test_what_cannot_be_meant_by_a_crash_or_a_script_is_refused() -> None:
    fake = FakeBackend()
    several: Any = [ENDS]
    with VMManager(fake) as manager:
        manager.allocate(VMConfig("web", "run"))
        with pytest.raises(ConfigError, match="a signal is signal='SIGKILL'"):
            fake.crash("web", "SIGKILL")  # type: ignore[arg-type] # the mistake
        with pytest.raises(ConfigError, match="ends it by no code, and code=3 is given"):
            fake.crash("web", 3, signal="KILL")
        with pytest.raises(ConfigError, match="several are given one after the other"):
            fake.program("web", several)
        with pytest.raises(ConfigError, match="name=''"):
            fake.program("", ENDS)
        with pytest.raises(ConfigError, match="must be a finite number of seconds"):
            fake.advance("5")  # type: ignore[arg-type] # the mistake
        assert manager.get("web").state is VMState.RUNNING
        fake.crash("web", None, signal="KILL")
        assert str(manager.get("web").exit) == "was ended by SIGKILL"
