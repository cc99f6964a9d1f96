"""Every backend through the same contract: real processes, and the fake in virtual time."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from procvm import (
    ConfigError,
    DuplicateNameError,
    FakeBackend,
    FakeProgram,
    ManagerClosedError,
    StartError,
    SubprocessBackend,
    UnreachableStateError,
    VMConfig,
    VMEvent,
    VMManager,
    VMNotFoundError,
    VMState,
    WaitTimeoutError,
)  # fmt: skip

LONG = ["sleep", "1000"]


def fake() -> FakeBackend:
    backend = FakeBackend(seed=1)
    backend.program("quick", FakeProgram(exit_after=0.0))
    backend.program("bad", FakeProgram(exit_after=0.0, exit_code=3))
    backend.program("deaf", FakeProgram(ignores=(15,), output=((0.0, "stdout", "deaf\n"),)))
    backend.program("twice", FakeProgram(exit_after=0.0, exit_code=1), FakeProgram())
    backend.program("says", FakeProgram(exit_after=0.0, output=((0.0, "stdout", "hello\n"),)))
    backend.program("absent", FakeProgram(start_error=StartError("no such program")))
    return backend


@pytest.fixture(params=["fake", "tree", "group"])
def manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    backend = fake() if request.param == "fake" else SubprocessBackend(request.param)
    with VMManager(backend) as made:
        yield made


COMMANDS = {
    "quick": ["true"],
    "bad": ["sh", "-c", "exit 3"],
    "deaf": ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1000; done"],
    "says": ["echo", "hello"],
    "absent": ["no-such-program-anywhere"],
}


def config(name: str, **options: object) -> VMConfig:
    return VMConfig(name, COMMANDS.get(name, LONG), **options)  # type: ignore[arg-type]


def test_a_program_is_started_listed_checked_reset_and_removed(manager: VMManager) -> None:
    web = manager.allocate(config("web"))
    assert web.state is VMState.RUNNING
    assert web.pid is not None
    assert manager.list() == [web]
    assert manager.health()
    again = manager.reset(web)
    assert (again.vm_id, again.generation, again.restarts) == (web.vm_id, 2, 0)
    assert again.pid != web.pid
    gone = manager.remove("web")
    assert gone.state is VMState.REMOVED
    assert gone.exit is not None
    assert gone.exit.signal == 15
    assert manager.list() == []
    with pytest.raises(VMNotFoundError):
        manager.get(web)


def test_a_failed_start_raises_and_leaves_nothing(manager: VMManager) -> None:
    with pytest.raises(StartError) as caught:
        manager.allocate(config("absent"))
    assert caught.value.name == "absent"
    assert manager.list() == []
    assert manager.allocate(VMConfig("absent2", LONG)).state is VMState.RUNNING


def test_a_name_is_used_once(manager: VMManager) -> None:
    manager.allocate(config("web"))
    with pytest.raises(DuplicateNameError):
        manager.allocate(config("web"))
    manager.remove("web")
    manager.allocate(config("web"))


def test_an_end_is_told_with_its_code(manager: VMManager) -> None:
    manager.allocate(config("quick"))
    assert manager.wait("quick").state is VMState.EXITED
    manager.allocate(config("bad"))
    bad = manager.wait("bad")
    assert bad.state is VMState.FAILED
    assert bad.exit is not None
    assert (bad.exit.code, bad.exit.signal, bad.exit.expected) == (3, None, False)
    assert manager.health().unhealthy == (bad,)
    assert "3" in bad.reason


def test_what_does_not_hear_is_killed_at_the_end_of_its_grace(manager: VMManager) -> None:
    manager.allocate(config("deaf"))
    assert next(iter(manager.follow("deaf"))).text == "deaf"
    gone = manager.remove("deaf", grace=0.2)
    assert gone.exit is not None
    assert gone.exit.signal == 9


def test_output_is_kept_beyond_the_removal(manager: VMManager) -> None:
    says = manager.allocate(config("says"))
    manager.wait(says)
    assert [str(line) for line in manager.logs(says)] == ["hello"]
    manager.remove(says)
    assert [str(line) for line in manager.logs(says)] == ["hello"]
    assert [str(line) for line in manager.follow(says)] == ["hello"]


def test_a_policy_restarts_and_a_limit_ends_it(manager: VMManager) -> None:
    policy = {"when": "on-failure", "initial": 0.001, "limit": 2, "within": 60.0}
    made = VMConfig("bad", COMMANDS["bad"])
    from procvm import RestartPolicy

    bad = manager.allocate(
        VMConfig("bad", made.command, restart=RestartPolicy(**policy))  # type: ignore[arg-type]
    )
    ended = manager.wait(bad, VMState.FAILED)
    assert (ended.restarts, ended.generation) == (2, 3)
    assert "used up" in ended.reason


def test_events_come_in_order_and_history_keeps_them(manager: VMManager) -> None:
    seen: list[VMEvent] = []
    removed = threading.Event()

    def note(event: VMEvent) -> None:
        seen.append(event)
        if event.kind == "removed":
            removed.set()

    undo = manager.subscribe(note)
    manager.allocate(config("web"))
    manager.remove("web")
    assert removed.wait(30)
    kinds = [event.kind for event in seen]
    assert kinds == ["allocated", "started", "ready", "stopping", "exited", "removed"]
    assert [event.kind for event in manager.history()] == kinds
    json.dumps([event.as_dict() for event in seen])
    undo()


def test_a_subscriber_that_raises_hurts_nobody(manager: VMManager) -> None:
    def bad(event: VMEvent) -> None:
        raise RuntimeError(event.kind)

    manager.subscribe(bad)
    assert manager.allocate(config("web")).state is VMState.RUNNING


def test_a_wait_ends_by_time_or_because_it_is_in_vain(manager: VMManager) -> None:
    manager.allocate(config("web"))
    with pytest.raises(WaitTimeoutError):
        manager.wait("web", VMState.EXITED, timeout=0.01)
    manager.allocate(config("quick"))
    with pytest.raises(UnreachableStateError):
        manager.wait("quick", VMState.BACKOFF)


def test_everything_ends_with_close(manager: VMManager) -> None:
    for number in range(5):
        manager.allocate(config(f"vm{number}"))
    manager.close()
    manager.close()
    with pytest.raises(ManagerClosedError):
        manager.allocate(config("late"))
    with pytest.raises(ManagerClosedError):
        manager.list()
    assert len([e for e in manager.history() if e.kind == "removed"]) == 5


def test_all_or_none_are_started(manager: VMManager) -> None:
    started = manager.allocate_all([config("a"), config("b")])
    assert [vm.name for vm in started] == ["a", "b"]
    with pytest.raises(ExceptionGroup):
        manager.allocate_all([config("c"), config("absent"), config("d")])
    assert [vm.name for vm in manager.list()] == ["a", "b"]


def test_a_manager_is_no_data(manager: VMManager) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(manager)
    with pytest.raises(ConfigError):
        VMManager(manager.backend)


def test_a_removed_twice_from_many_threads_is_removed_once(manager: VMManager) -> None:
    manager.allocate(config("web"))

    def remove(_: int) -> str:
        try:
            return manager.remove("web").state
        except VMNotFoundError:
            return "gone"

    with ThreadPoolExecutor(32) as pool:
        answers = set(pool.map(remove, range(32)))
    assert "removed" in answers
    assert answers <= {"removed", "gone"}
    assert len([e for e in manager.history() if e.kind == "removed"]) == 1


def test_one_of_many_threads_gets_the_name(manager: VMManager) -> None:
    def allocate(_: int) -> str:
        try:
            return manager.allocate(config("web")).state
        except DuplicateNameError:
            return "duplicate"

    with ThreadPoolExecutor(32) as pool:
        answers = sorted(pool.map(allocate, range(32)))
    assert answers == ["duplicate"] * 31 + ["running"]


def test_a_snapshot_is_a_value(manager: VMManager) -> None:
    web = manager.allocate(config("web", env={"SECRET": "hidden"}))
    assert pickle.loads(pickle.dumps(web)) == web
    assert {web: 1}[web] == 1
    assert "hidden" not in repr(web)
    manager.reset(web)
    assert web.generation == 1
