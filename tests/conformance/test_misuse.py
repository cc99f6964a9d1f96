"""What cannot work is refused at once, in words that name the way out, and does no harm."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from procvm import (
    VM,
    AsyncVMManager,
    ConfigError,
    DuplicateNameError,
    FakeBackend,
    FakeProgram,
    HealthReport,
    ManagerClosedError,
    ProgramNotFoundError,
    StartError,
    StopPolicy,
    SubprocessBackend,
    UnreachableStateError,
    VMConfig,
    VMEvent,
    VMManager,
    VMNotFoundError,
    VMState,
    WaitTimeoutError,
    probes,
)
from procvm.backends.fake import _backend as fake_backend
from procvm.protocol import Dispatcher

LONG = ["sleep", "1000"]


@pytest.fixture(params=["tree", "group", "fake"])
def manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    made = FakeBackend() if request.param == "fake" else SubprocessBackend(request.param)
    with VMManager(made) as one:
        yield one


async def later(*_: Any) -> bool:
    return False


VERBS: list[Callable[[VMManager], object]] = [
    lambda m: m.allocate(VMConfig("y", LONG)),
    lambda m: m.allocate_all([VMConfig("y", LONG)]),
    lambda m: m.remove("x"),
    lambda m: m.reset("x"),
    lambda m: m.wait("x"),
    lambda m: m.signal("x", "TERM"),
    lambda m: m.close(),
]


@pytest.mark.parametrize("verb", VERBS, ids=range(len(VERBS)))
def test_a_waits_function_may_call_no_verb_that_waits(
    manager: VMManager, verb: Callable[[VMManager], object]
) -> None:
    """It would wait in the engine's own thread for what that thread is to do, for ever."""
    vm = manager.allocate(VMConfig("x", LONG))
    with pytest.raises(RuntimeError, match="in the engine's thread"):
        manager.wait(vm, lambda _: bool(verb(manager)), timeout=60)
    assert manager.get(vm) == vm
    assert [one.name for one in manager.list()] == ["x"]
    assert (
        manager.wait(vm, lambda now: manager.get("x") == now) == vm
    )  # what is told at once may be asked


def test_nor_one_of_another_manager(manager: VMManager) -> None:
    with VMManager() as other:
        vm = other.allocate(VMConfig("x", LONG))
        if not isinstance(manager.backend, FakeBackend):  # they share one thread
            with pytest.raises(RuntimeError, match="in the engine's thread"):
                other.wait(vm, lambda _: bool(manager.allocate(VMConfig("y", LONG))), timeout=60)
        assert manager.allocate(VMConfig("z", LONG)).state is VMState.RUNNING


def test_nobody_awaits_a_coroutine_function(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", LONG))
    with pytest.raises(ConfigError, match=r"until=.*coroutine function"):
        manager.wait(vm, later, timeout=60)  # type: ignore[arg-type] # the mistake
    with pytest.raises(ConfigError, match=r"until=.*must be callable with a VM alone"):
        manager.wait(vm, lambda: True, timeout=60)  # type: ignore[arg-type, misc] # the mistake
    with pytest.raises(ConfigError, match=r"until=.*returned a coroutine"):
        manager.wait(vm, lambda vm: later(vm), timeout=60)  # type: ignore[arg-type, return-value] # noqa: PLW0108 - the mistake
    with pytest.raises(ConfigError, match=r"callback=.*coroutine function.*events\(\)"):
        manager.subscribe(later)  # type: ignore[arg-type] # the mistake
    with pytest.raises(ConfigError, match=r"function=.*coroutine function"):
        probes.call(later)


def test_a_probes_function_that_returns_a_coroutine_does_not_pass() -> None:
    ready = probes.call(lambda: later(), timeout=0.2)  # noqa: PLW0108 - the mistake
    with VMManager() as manager, pytest.raises(StartError, match="returned a coroutine"):
        manager.allocate(VMConfig("x", LONG, ready=ready))


@pytest.mark.parametrize(
    ("until", "words"),
    [
        ((), "for its end"),
        (("exited",), "for exited"),
        (("exited", lambda _: False), "for exited or a function to hold"),
    ],
)
def test_a_wait_that_took_too_long_says_for_what(
    manager: VMManager, until: tuple[Any, ...], words: str
) -> None:
    vm = manager.allocate(VMConfig("x", LONG))
    with pytest.raises(WaitTimeoutError) as caught:
        manager.wait(vm, *until, timeout=0.01)
    assert str(caught.value) == f"VM 'x' is in state running after waiting 0.01 s {words}"


@pytest.mark.parametrize("until", [["running", "failed"], (VMState.EXITED,), {"failed"}])
def test_several_states_to_wait_for_are_several_arguments(manager: VMManager, until: Any) -> None:
    with pytest.raises(ConfigError, match="given one after the other, each an argument"):
        manager.wait("x", until)


def test_what_is_to_be_iterated_says_so(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", LONG))
    assert repr(manager.follow(vm)) == "<LineIterator of 'x': for line in ...>"
    assert repr(manager.follow("x")) == repr(manager.follow(vm))

    async def look() -> list[str]:
        other = AsyncVMManager.of(manager)
        return [repr(other.follow("x")), repr(other.events())]

    assert asyncio.run(look()) == [
        "<AsyncLineIterator of 'x': async for line in ...>",
        "<EventIterator: async for event in ...>",
    ]


def test_what_holds_already_is_waited_for_in_no_time(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", LONG))
    for _ in range(100):
        assert manager.wait(vm, "running", timeout=0) == vm
    with pytest.raises(WaitTimeoutError, match=r"^VM 'x' is in state running after waiting 0 s"):
        manager.wait(vm, timeout=0)
    with pytest.raises(VMNotFoundError, match="'never'"):
        manager.wait("never", timeout=0)
    manager.remove(vm)
    assert manager.wait(vm, "removed", timeout=0).state is VMState.REMOVED


def test_so_it_is_awaited() -> None:
    async def look() -> None:
        async with AsyncVMManager() as manager:
            vm = await manager.allocate(VMConfig("x", LONG))
            for _ in range(100):
                assert await manager.wait(vm, "running", timeout=0) == vm
            with pytest.raises(WaitTimeoutError, match=r"^VM 'x' is in state running after"):
                await manager.wait(vm, timeout=0)
            with pytest.raises(VMNotFoundError, match="'never'"):
                await manager.wait("never", timeout=0)

    asyncio.run(look())


def test_a_handle_of_a_vm_that_was_removed_is_told_by_its_name(manager: VMManager) -> None:
    vm = manager.remove(manager.allocate(VMConfig("x", LONG)))
    for verb in (manager.get, manager.remove, manager.reset, manager.usage):
        with pytest.raises(VMNotFoundError, match="any more: 'x' was removed"):
            verb(vm)
    with pytest.raises(VMNotFoundError, match="no VM 'never'; list"):
        manager.get("never")


ASKED: list[Callable[[VMManager, VM], object]] = [
    lambda m, vm: m.remove(vm),
    lambda m, vm: m.reset(vm),
    lambda m, vm: m.wait(vm, timeout=10),
    lambda m, vm: m.signal(vm, 15),
    lambda m, vm: m.logs(vm),
    lambda m, vm: m.follow(vm),
    lambda m, vm: m.usage(vm),
    lambda m, vm: m.history(vm),
    lambda m, vm: m.timeline(vm),
]


@pytest.mark.parametrize("number", range(len(ASKED)))
def test_a_vm_of_another_manager_is_named_and_left_alone(manager: VMManager, number: int) -> None:
    with VMManager(FakeBackend()) as other:
        vm = other.allocate(VMConfig("web", LONG))
        with pytest.raises(VMNotFoundError, match=f"VM 'web' .{vm.vm_id}. is another manager's"):
            ASKED[number](manager, vm)
        assert other.get("web").state is VMState.RUNNING


def test_a_name_that_is_being_given_up_says_when_it_is_free() -> None:
    fake = FakeBackend()
    fake.program("x", FakeProgram(stop_takes=5.0))
    with VMManager(fake) as manager:
        manager.allocate(VMConfig("x", LONG))
        refused: list[object] = []

        def on_stopping(event: Any) -> None:
            if event.kind == "stopping":
                with pytest.raises(DuplicateNameError) as caught:
                    manager.allocate(VMConfig("x", LONG))
                refused.append(caught.value)

        manager.subscribe(on_stopping)
        manager.remove("x")
        assert refused[-1] == DuplicateNameError("x", is_leaving=True)
        assert "is being taken away; wait('x', 'removed')" in str(refused[-1])


def test_a_name_whose_start_was_taken_back_says_when_it_is_free() -> None:
    """Also in the moment before the engine has heard of it."""

    async def main() -> None:
        async with AsyncVMManager() as manager:
            deaf = VMConfig(
                "x", ["sh", "-c", "trap '' TERM; echo deaf; sleep 1000"], ready=probes.log("never")
            )
            start = asyncio.create_task(manager.allocate(deaf))
            async for event in manager.events():
                if event.kind == "started":
                    break
            assert str(await anext(manager.follow("x"))) == "deaf"
            start.cancel()
            with pytest.raises(asyncio.CancelledError):
                await start
            with pytest.raises(DuplicateNameError) as caught:
                await manager.allocate(deaf)
            assert caught.value.is_leaving
            with pytest.raises(VMNotFoundError, match="VM 'x' is being taken away; wait"):
                await manager.reset("x")
            await manager.remove("x", grace=0)

    asyncio.run(main())


def test_two_of_one_name_start_nothing(manager: VMManager) -> None:
    lost = VMConfig("h", "/no/such")
    several: list[Any] = [VMConfig("g", LONG), {"name": "g", "command": LONG}, lost]
    kinds: list[str] = []
    manager.subscribe(lambda event: kinds.append(event.kind))
    with pytest.raises(ExceptionGroup) as caught:
        manager.allocate_all(several)
    errors = caught.value.exceptions
    assert str(errors[0]) == "two of the configurations are named 'g'"
    assert errors[0].__notes__ == ["in configs[1], the VM 'g'"]
    assert len(errors) == (1 if isinstance(manager.backend, FakeBackend) else 2)
    assert manager.history() == []


def test_all_that_can_never_start_is_told_at_once(manager: VMManager) -> None:
    manager.allocate(VMConfig("x", LONG))
    made: list[Any] = [VMConfig("new", LONG), VMConfig("x", LONG), {"name": "y"}, {"nmae": "z"}]
    with pytest.raises(ExceptionGroup) as caught:
        manager.allocate_all(made)
    kinds = [type(error) for error in caught.value.exceptions]
    assert kinds == [DuplicateNameError, ConfigError, ConfigError]
    assert [vm.name for vm in manager.list()] == ["x"]


def test_all_that_is_not_there_is_told_at_once() -> None:
    with VMManager() as manager, pytest.raises(ExceptionGroup) as caught:
        manager.allocate_all(VMConfig(f"x{n}", f"no-such-program-{n}") for n in range(3))
    assert [type(error) for error in caught.value.exceptions] == [ProgramNotFoundError] * 3


def test_the_other_face_tells_all_of_it_as_well() -> None:
    async def main() -> None:
        async with AsyncVMManager() as manager:
            absent = [VMConfig(f"x{n}", f"no-such-program-{n}") for n in (1, 2)]
            try:
                await manager.allocate_all([VMConfig("good", LONG), *absent])
            finally:
                left.extend(await manager.list())

    left: list[VM] = []
    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    assert [type(error) for error in caught.value.exceptions] == [ProgramNotFoundError] * 2
    assert left == []


@pytest.mark.parametrize("bound", ["_MOST_IN_A_WAIT", "_MOST_MOMENTS"])
def test_a_wait_that_probes_alone_prolong_says_so(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In virtual time it would turn for ever, at full speed."""
    monkeypatch.setattr(fake_backend, bound, 1000)
    with VMManager(FakeBackend()) as manager:
        manager.allocate(VMConfig("db", LONG, alive=probes.tcp(5432)))
        vm = manager.allocate(VMConfig("job", LONG))
        with pytest.raises(UnreachableStateError, match="give a timeout"):
            manager.wait(vm)
        with pytest.raises(WaitTimeoutError):
            manager.wait(vm, timeout=10**6)


@pytest.mark.parametrize(
    ("face", "words"), [(VMManager, "or use with\n"), (AsyncVMManager, "or use async with\n")]
)
def test_a_forgotten_manager_says_in_the_log_what_it_takes_away(
    face: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Python shows a ResourceWarning to those alone who ask for it, and a notebook to nobody."""
    manager = face()
    config = VMConfig("x", LONG, stop=StopPolicy(grace=1.0))
    vm = manager.allocate(config) if face is VMManager else asyncio.run(manager.allocate(config))
    with pytest.warns(ResourceWarning, match="forgotten"):  # noqa: PT031 - both forget it
        del manager
        gc.collect()
    assert f" {face.__name__} was forgotten" in caplog.text
    assert "its VMs are taken away: 'x'" in caplog.text
    assert caplog.text.endswith(words)
    assert vm.pid is not None


def test_a_subscriber_that_fails_is_seen_without_any_set_up() -> None:
    """Python's last resort prints it, as no handler of ours keeps it away."""
    assert logging.getLogger("procvm").handlers == []


def test_the_log_of_a_subscriber_that_fails_names_the_event_and_the_vm(
    manager: VMManager, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(event: VMEvent) -> None:
        if event.kind == "removed":
            raise LookupError("no such row")

    manager.subscribe(fails)
    manager.allocate(VMConfig("web", LONG))
    manager.remove("web")
    manager.close()
    (told,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert told.getMessage().startswith("a subscriber failed at web: removed - ")
    assert told.exc_info is not None


def test_a_subscriber_that_fails_each_time_shows_one_traceback_of_a_kind(
    manager: VMManager, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(event: VMEvent) -> None:
        raise (LookupError if event.kind == "removed" else ValueError)("one\nof mine")

    for _ in range(2):
        manager.subscribe(fails)
    manager.allocate(VMConfig("web", LONG))
    manager.remove("web")
    manager.close()
    told = [one for one in caplog.records if "a subscriber failed" in one.getMessage()]
    assert len(told) == 2 * len(manager.history())
    whole = [one.exc_info[0] for one in told if one.exc_info]
    assert sorted(map(str, whole)) == sorted(map(str, [LookupError, ValueError] * 2))
    again = [one for one in told if not one.exc_info]
    assert {one.levelno for one in again} == {logging.WARNING}
    assert all(one.getMessage().endswith(": ValueError('one\\nof mine')") for one in again)


def test_an_exception_whose_class_cannot_be_hashed_ends_no_subscriber(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Kind(type):
        def __eq__(cls, other: object) -> bool:
            return cls is other

        __hash__ = None  # type: ignore[assignment]

    class OddError(Exception, metaclass=Kind):
        pass

    heard: list[str] = []

    def fail(event: VMEvent) -> None:
        heard.append(event.kind)
        raise OddError

    with VMManager(FakeBackend()) as manager:
        manager.subscribe(fail)
        manager.remove(manager.allocate(VMConfig("vm", ["x"])))
    assert heard[0] == "allocated"
    assert heard[-1] == "removed"
    assert len([one for one in caplog.records if "a subscriber failed" in one.message]) > 1


def test_a_subscriber_that_cannot_be_called_with_an_event_is_refused(manager: VMManager) -> None:
    faces: list[Any] = [manager, AsyncVMManager(FakeBackend())]
    for face in faces:
        for wrong in (lambda: 1, lambda event, *, row: row, Signed.both):
            with pytest.raises(ConfigError, match=r"callback=.*with an event alone"):
                face.subscribe(wrong)
        for right in (print, dict, Signed().both, Signed(), lambda *events: events):
            face.subscribe(right)()
    asyncio.run(faces[1].close())


class Signed:
    """One that is called, with a method, and that tells no signature."""

    __signature__ = "none that could be read"

    def __call__(self, event: VMEvent) -> None:
        raise AssertionError("nothing has happened")

    def both(self, event: VMEvent) -> None:
        raise AssertionError("nothing has happened")


def test_the_faces_are_not_mistaken_for_one_another() -> None:
    from procvm.protocol import Client, Dispatcher

    other = AsyncVMManager(FakeBackend())
    with pytest.raises(ConfigError, match="nobody awaits its verbs"):
        Dispatcher(other)  # type: ignore[arg-type] # the mistake
    asyncio.run(other.close())
    with pytest.raises(ConfigError, match="send='sock'"):
        Client("sock")  # type: ignore[arg-type] # the mistake


@pytest.mark.parametrize("vm", [None, 3, {"env": {"TOKEN": "s3cret"}}, VMConfig("web", LONG)])
def test_what_stands_for_no_vm_is_told_what_does(manager: VMManager, vm: Any) -> None:
    with pytest.raises(VMNotFoundError, match="stands for no VM: give") as caught:
        manager.get(vm)
    assert "s3cret" not in str(caught.value)


def test_a_list_of_configurations_shows_no_secret(manager: VMManager) -> None:
    several: Any = [{"name": "x", "command": "x", "env": {"TOKEN": "s3cret"}}]
    with pytest.raises(ConfigError, match="config='<list>': must be a VMConfig"):
        manager.allocate(several)


@pytest.mark.parametrize("name", [VMConfig("web", LONG), None, 3])
def test_a_script_is_for_a_name(name: Any) -> None:
    with pytest.raises(ConfigError, match=r"name=.*must be the name of a VM"):
        FakeBackend().program(name, FakeProgram())


def test_a_crash_of_what_does_not_run_is_silent_as_a_signal_is() -> None:
    fake = FakeBackend()
    fake.program("web", FakeProgram(exit_after=1.0, exit_code=3))
    with VMManager(fake) as manager:
        vm = manager.allocate(VMConfig("web", LONG))
        fake.advance(2.0)
        before = manager.history()
        fake.crash("web", code=9)
        manager.signal(vm, 9)
        fake.advance(1.0)
        assert manager.history() == before


@pytest.mark.parametrize(
    "configs", [VMConfig("web", LONG), {"name": "web", "command": LONG}, "web", None]
)
def test_one_configuration_is_not_several(manager: VMManager, configs: Any) -> None:
    """It is told by itself: nothing was tried."""
    why = "must be several, in a list: allocate takes one"
    with pytest.raises(ConfigError, match=why):
        manager.allocate_all(configs)
    with pytest.raises(ConfigError, match=why):
        asyncio.run(AsyncVMManager.of(manager).allocate_all(configs))
    assert manager.list() == []


def test_a_backend_completes_to_what_is_for_users(manager: VMManager) -> None:
    names = [name for name in dir(manager.backend) if name[0] != "_"]
    fakes = {"advance", "crash", "now", "program"}
    assert {"capabilities", "hints"} <= set(names) <= fakes | {"capabilities", "hints"}
    assert {"advance", "crash"} <= set(dir(FakeBackend()))


def test_a_seed_is_no_script() -> None:
    with pytest.raises(ConfigError, match=r"seed=.*program"):
        FakeBackend({"web": FakeProgram()})  # type: ignore[arg-type] # what is refused


def test_a_wrong_configuration_among_several_is_named(manager: VMManager) -> None:
    good = {"name": "web", "command": LONG}
    wrong = {"name": "api", "command": LONG, "ready": {"kind": "tcp", "port": "80"}}
    with pytest.raises(ExceptionGroup) as caught:
        manager.allocate_all([good, wrong, {"command": LONG}])
    notes = [error.__notes__ for error in caught.value.exceptions]
    assert notes == [["in configs[1], the VM 'api'"], ["in configs[2]"]]
    assert manager.list() == []


def test_the_class_of_a_manager_dispatches_nothing() -> None:
    with pytest.raises(ConfigError, match=r"manager=.*must be one: VMManager\(\)"):
        Dispatcher(VMManager)  # type: ignore[arg-type] # what is refused


def test_a_report_without_vms_says_its_status_alone() -> None:
    assert str(HealthReport("bad", 0, ())) == "bad"
    assert str(HealthReport("good", 0, ())) == "good"


def test_what_stands_for_no_vm_is_told_what_would(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", LONG))
    forgotten = later()
    for wrong, way in (
        (forgotten, "a coroutine stands for no VM: await it first"),
        ([vm], "a list stands for no VM: give one VM after the other"),
        (vm.pid, "an int stands for no VM: give a VM, its vm_id or its name"),
    ):
        with pytest.raises(VMNotFoundError) as caught:
            manager.remove(wrong)  # type: ignore[arg-type] # that is the point
        assert str(caught.value) == way
    forgotten.close()
    assert manager.get(vm) == vm


def test_a_mistyped_name_is_told_the_names_that_look_like_it(manager: VMManager) -> None:
    for name in ("web", "worker-1", "worker-2", "db"):
        manager.allocate(VMConfig(name, LONG))
    verbs = (manager.get, manager.remove, manager.reset, manager.logs, manager.history)
    for verb in (*verbs, manager.wait, manager.usage, lambda vm: manager.signal(vm, "TERM")):
        with pytest.raises(VMNotFoundError, match=r"no VM 'wbe'; did you mean 'web'\?$") as one:
            verb("wbe")
        assert one.value.near == ("web",)
    with pytest.raises(VMNotFoundError, match=r"did you mean 'worker-[12]' or 'worker-[12]'"):
        manager.get("worker")
    manager.remove("web")
    for unlike in ("web", "wbe", "", "x" * 10_000):
        with pytest.raises(VMNotFoundError) as caught:
            manager.get(unlike)
        assert caught.value.near == ()


def test_a_wait_that_nothing_can_end_has_the_exit_and_the_last_words(manager: VMManager) -> None:
    if isinstance(manager.backend, FakeBackend):
        program = FakeProgram(output=[(0.5, "stderr", "no table\n")], exit_after=1.0, exit_code=3)
        manager.backend.program("job", program)
    job = VMConfig("job", ["sh", "-c", "echo no table >&2; exit 3"])
    vm = manager.allocate(job)
    for _ in range(2):  # also of one that is gone
        with pytest.raises(UnreachableStateError) as caught:
            manager.wait(vm, VMState.EXITED)
        error = caught.value
        assert error.exit is not None
        assert (error.exit.code, [str(line) for line in error.logs]) == (3, ["no table"])
        assert str(error).endswith("\nIts last output:\n  stderr: no table")
        with contextlib.suppress(VMNotFoundError):
            manager.remove(vm)


def test_a_closed_manager_is_not_entered() -> None:
    manager = VMManager(FakeBackend())
    with manager:
        pass
    with pytest.raises(ManagerClosedError, match="the manager is closed"), manager:
        pass

    async def again() -> None:
        closed = AsyncVMManager(FakeBackend())
        async with closed:
            pass
        with pytest.raises(ManagerClosedError, match="the manager is closed"):
            async with closed:
                pass

    asyncio.run(again())
