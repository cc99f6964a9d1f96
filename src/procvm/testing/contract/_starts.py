"""Checks of how programs start, get ready, and start again."""

from __future__ import annotations

import signal

from ... import probes
from ...config import RestartPolicy
from ...errors import (
    DuplicateNameError,
    ExitedBeforeReadyError,
    ReadyTimeoutError,
    StartError,
    StartInterruptedError,
    VMNotFoundError,
)  # fmt: skip
from ...facts import VMState
from ...values import VMEvent
from ._bench import Bench, Check, raises

__all__ = ["CHECKS"]


def a_program_is_started_listed_checked_reset_and_removed(bench: Bench) -> None:
    """The main job, with one program."""
    manager = bench.manager
    web = manager.allocate(bench.config("web"))
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
    assert gone.exit.signal == 15  # noqa: PLR2004 - SIGTERM
    assert manager.list() == []
    with raises(VMNotFoundError):
        manager.get(web)


def a_program_has_its_environment_and_directory(bench: Bench) -> None:
    """It runs where it was to run, with what was laid over the host's environment."""
    given = {"PROCVM_GIVEN": "given"}
    tells = bench.manager.allocate(bench.config("tells", env=given, path="/"))
    bench.manager.wait(tells)
    assert [str(line) for line in bench.manager.logs(tells)] == ["given", "/"]


def a_failed_start_raises_and_leaves_nothing(bench: Bench) -> None:
    """What cannot be started is a StartError that names its VM; the next start works."""
    with raises(StartError) as caught:
        bench.manager.allocate(bench.config("absent"))
    assert caught[0].name == "absent"
    assert bench.manager.list() == []
    assert bench.manager.allocate(bench.config("web")).state is VMState.RUNNING


def a_name_is_used_once(bench: Bench) -> None:
    """A name is free again when its VM was removed."""
    bench.manager.allocate(bench.config("web"))
    with raises(DuplicateNameError):
        bench.manager.allocate(bench.config("web"))
    bench.manager.remove("web")
    bench.manager.allocate(bench.config("web"))


def all_or_none_are_started(bench: Bench) -> None:
    """Of several that start side by side, nothing is left when one of them cannot."""
    manager, config = bench.manager, bench.config
    started = manager.allocate_all([config("a"), config("b")])
    assert [vm.name for vm in started] == ["a", "b"]
    with raises(ExceptionGroup):
        manager.allocate_all([config("c"), config("absent"), config("d")])
    assert [vm.name for vm in manager.list()] == ["a", "b"]


def a_program_is_ready_when_its_probe_passes(bench: Bench) -> None:
    """The program is started before it is ready, and allocate returns when it is."""
    ready = probes.log("^up$", timeout=bench.patience)
    vm = bench.manager.allocate(bench.config("serves", ready=ready))
    assert vm.state is VMState.RUNNING
    kinds = [event.kind for event in bench.manager.history(vm)]
    assert kinds == ["allocated", "started", "ready"]
    assert [str(line) for line in bench.manager.logs(vm)] == ["up"]


def an_end_before_it_is_ready_is_told_with_the_last_lines(bench: Bench) -> None:
    """The error has the exit and the last lines, and nothing of the VM remains."""
    ready = probes.log("never", timeout=bench.patience)
    with raises(ExitedBeforeReadyError) as caught:
        bench.manager.allocate(bench.config("says", ready=ready))
    assert caught[0].exit.code == 0
    assert [str(line) for line in caught[0].logs] == ["hello"]
    assert bench.manager.list() == []


def what_is_not_ready_in_time_is_taken_away(bench: Bench) -> None:
    """Time is up: the program is stopped, and the call raises."""
    with raises(ReadyTimeoutError):
        bench.manager.allocate(bench.config("web", ready=probes.log("never", timeout=0.1)))
    assert bench.manager.list() == []
    ended = [event.vm for event in bench.manager.history() if event.kind == "exited"]
    assert len(ended) == 1


def a_stop_may_come_before_it_is_ready(bench: Bench) -> None:
    """A removal ends a start in progress; a callback may ask for it."""

    def remove(event: VMEvent) -> None:
        if event.kind == "started":
            bench.manager.remove(event.vm)

    bench.manager.subscribe(remove)
    with raises(StartInterruptedError):
        bench.manager.allocate(bench.config("web", ready=probes.log("never", timeout=1000.0)))
    assert bench.manager.list() == []


def what_has_ended_starts_again(bench: Bench) -> None:
    """A reset works from every state, and facts of the old life do not touch the new one."""
    manager = bench.manager
    manager.allocate(bench.config("bad"))
    assert manager.wait("bad").state is VMState.FAILED
    again = manager.reset("bad")
    assert (again.generation, again.exit is not None) == (2, True)
    assert manager.wait("bad").generation == again.generation
    web = manager.allocate(bench.config("web"))
    for generation in range(2, 7):
        web = manager.reset(web)
        assert (web.generation, web.state) == (generation, VMState.RUNNING)


def a_policy_restarts_and_a_limit_ends_it(bench: Bench) -> None:
    """Failed lives are followed by new ones until the budget is used up."""
    policy = RestartPolicy(when="on-failure", initial=0.001, limit=2, within=60.0)
    bad = bench.manager.allocate(bench.config("bad", restart=policy))
    ended = bench.manager.wait(bad, VMState.FAILED)
    assert (ended.restarts, ended.generation) == (2, 3)
    assert "used up" in ended.reason


def a_probe_that_fails_while_it_runs_makes_it_unhealthy(bench: Bench) -> None:
    """The liveness probe is asked again and again, and its failures are counted."""
    alive = probes.command(["false"], interval=0.02, failures=2, timeout=bench.patience)
    sick = bench.manager.allocate(bench.config("sick", alive=alive))
    sick = bench.manager.wait(sick, lambda vm: not vm.healthy, timeout=bench.patience)
    assert sick.state is VMState.RUNNING
    assert bench.manager.health().unhealthy == (sick,)


def nothing_is_asked_of_what_has_ended(bench: Bench) -> None:
    """With the end of a program its probes end; the sink would note an answer."""
    alive = probes.command(["true"], interval=0.01, timeout=bench.patience)
    vm = bench.manager.allocate(bench.config("web", alive=alive))
    bench.let_pass(0.05)
    bench.manager.signal(vm, signal.SIGKILL)
    bench.manager.wait(vm)
    bench.let_pass(0.1)
    assert bench.manager.get(vm).state is VMState.FAILED


CHECKS: tuple[Check, ...] = (
    a_program_is_started_listed_checked_reset_and_removed,
    a_program_has_its_environment_and_directory,
    a_failed_start_raises_and_leaves_nothing, a_name_is_used_once, all_or_none_are_started,
    a_program_is_ready_when_its_probe_passes,
    an_end_before_it_is_ready_is_told_with_the_last_lines,
    what_is_not_ready_in_time_is_taken_away, a_stop_may_come_before_it_is_ready,
    what_has_ended_starts_again, a_policy_restarts_and_a_limit_ends_it,
    a_probe_that_fails_while_it_runs_makes_it_unhealthy, nothing_is_asked_of_what_has_ended,
)  # fmt: skip
