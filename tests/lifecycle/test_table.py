"""The rules, walked as a table and as a pure function."""

from __future__ import annotations

import itertools
import signal
from typing import Any, Literal

import attrs
import pytest

from procvm import (
    Limits,
    RestartPolicy,
    StartError,
    StopPolicy,
    VMConfig,
    VMState,
    lifecycle,
    probes,
)
from procvm.facts import Survivor
from procvm.lifecycle import (
    ROWS,
    AliveFailed,
    AlivePassed,
    ArmReady,
    ArmRestart,
    Exited,
    Gone,
    InterruptReset,
    Lost,
    Moment,
    ReadyFailed,
    ReadyPassed,
    ReadyTimedOut,
    Record,
    Remove,
    Reset,
    RestartDue,
    Spawn,
    Start,
    Started,
    StartFailed,
    Stop,
    Survived,
    Tell,
    Then,
    advance,
    begin,
    outcome,
    refuses,
)  # fmt: skip
from procvm.lifecycle._steps import GUARDS, STEPS
from procvm.probes import Probe

NOW = Moment(100.0, 1_000.0)
EVENTS: tuple[lifecycle.Event, ...] = (
    Started(7), StartFailed(StartError("no")), ReadyPassed(), ReadyFailed("x"), ReadyTimedOut(),
    AlivePassed(), AliveFailed("x"), Exited(1, None, tree_gone=True),
    Exited(0, None, tree_gone=False), Gone(), Survived((Survivor(9),)), Lost("keeper"),
    RestartDue(), Remove(), Reset(), InterruptReset(),
)  # fmt: skip


def record(state: VMState, **facts: Any) -> Record:
    config = facts.pop("config", VMConfig("web", ["web"]))
    assert isinstance(config, VMConfig)
    made = Record("a" * 32, config, state, since=1.0, created_at=1.0)
    return attrs.evolve(made, **facts)


def kinds(effects: tuple[lifecycle.Effect, ...]) -> list[str]:
    return [effect.kind for effect in effects if isinstance(effect, Tell)]


def test_every_row_names_what_exists() -> None:
    for row in ROWS:
        assert row.guard in GUARDS
        assert set(row.steps) <= set(STEPS)
        assert hasattr(lifecycle, row.event)


def test_the_last_row_of_every_request_needs_no_luck() -> None:
    pairs = {(row.state, row.event) for row in ROWS if row.event in ("Remove", "Reset")}
    up = set(VMState) - {VMState.REMOVED}
    assert pairs == {(state, event) for state in up for event in ("Remove", "Reset")}


@pytest.mark.parametrize("state", list(VMState))
@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_every_event_in_every_state_leads_to_a_true_record(
    state: VMState, event: lifecycle.Event
) -> None:
    for then, tree, start in itertools.product(Then, (False, True), Start):
        before = record(state, has_tree=tree, start=start)
        if state is VMState.STOPPING:
            before = attrs.evolve(before, then=then)
        was = attrs.evolve(before)
        after, effects = advance(before, event, NOW)
        assert before == was
        assert after.generation >= before.generation
        assert (after.state is VMState.STOPPING) == (after.then is not None)
        assert sum(isinstance(e, Spawn) for e in effects) <= 1
        if after.state is VMState.REMOVED and state is not VMState.REMOVED:
            assert "removed" in kinds(effects)
            assert not after.has_tree


def test_a_first_start_that_fails_is_removed_and_its_verb_raises() -> None:
    before, effects = begin("a" * 32, VMConfig("web", ["web"]), NOW)
    assert kinds(effects) == ["allocated"]
    after, _ = advance(before, StartFailed(StartError("no such thing")), NOW)
    assert after.state is VMState.REMOVED
    told = outcome("allocate", after)
    assert isinstance(told, StartError)
    assert told.why == "no such thing"
    assert told.name == "web"


def test_without_a_probe_a_vm_runs_as_soon_as_it_executes() -> None:
    after, _ = advance(record(VMState.STARTING), Started(7), NOW)
    assert after.state is VMState.RUNNING
    assert after.pid == 7
    assert outcome("allocate", after) is True


def test_with_a_probe_it_runs_when_that_passes() -> None:
    config = VMConfig("web", ["web"], ready=probes.tcp(80, timeout=4.0))
    after, effects = advance(record(VMState.STARTING, config=config), Started(7), NOW)
    assert after.state is VMState.STARTING
    assert ArmReady(4.0) in effects
    after, effects = advance(after, ReadyPassed("answered"), NOW)
    assert after.state is VMState.RUNNING
    assert "ready" in kinds(effects)


def test_not_ready_in_time_stops_it_first() -> None:
    config = VMConfig("web", ["web"], ready=probes.tcp(80))
    starting = record(VMState.STARTING, config=config, has_tree=True, words="refused")
    after, effects = advance(starting, ReadyTimedOut(), NOW)
    assert (after.state, after.then) == (VMState.STOPPING, Then.REMOVE)
    assert Stop(10.0) in effects
    after, _ = advance(after, Gone(), NOW)
    told = outcome("allocate", after)
    assert isinstance(told, StartError)
    assert "refused" in told.why


@pytest.mark.parametrize(
    ("when", "code", "state"),
    [
        ("never", 0, VMState.EXITED),
        ("never", 1, VMState.FAILED),
        ("on-failure", 0, VMState.EXITED),
        ("on-failure", 1, VMState.BACKOFF),
        ("always", 0, VMState.BACKOFF),
        ("always", 1, VMState.BACKOFF),
    ],
)
def test_an_end_leads_where_the_policy_says(
    when: Literal["never", "on-failure", "always"], code: int, state: VMState
) -> None:
    config = VMConfig("web", ["web"], restart=when)
    after, _ = advance(record(VMState.RUNNING, config=config), Exited(code, None, True), NOW)
    assert after.state is state
    assert after.exit is not None
    assert after.exit.code == code
    assert not after.exit.expected


def test_a_lost_status_is_a_failure_and_never_a_zero() -> None:
    after, _ = advance(record(VMState.RUNNING), Exited(None, None, True, "reaped"), NOW)
    assert after.state is VMState.FAILED
    assert after.exit is not None
    assert after.exit.is_lost


def test_delays_grow_are_capped_and_begin_anew_after_a_long_life() -> None:
    policy = RestartPolicy(initial=1.0, factor=2.0, maximum=5.0, jitter=0.0, limit=None, within=60)
    config = VMConfig("web", ["web"], restart=policy)
    now, delays = 0.0, []
    now_record = record(VMState.RUNNING, config=config, life_began=0.0)
    for _ in range(5):
        now += 1.0
        now_record, effects = advance(now_record, Exited(1, None, True), Moment(now, now))
        delays += [e.seconds for e in effects if isinstance(e, ArmRestart)]
        now_record, _ = advance(now_record, RestartDue(), Moment(now, now))
        now_record, _ = advance(now_record, Started(7), Moment(now, now))
    assert delays == [1.0, 2.0, 4.0, 5.0, 5.0]
    now += 60.0
    _, effects = advance(now_record, Exited(1, None, True), Moment(now, now))
    assert [e.seconds for e in effects if isinstance(e, ArmRestart)] == [1.0]


def test_a_budget_that_is_used_up_ends_in_failure_with_the_reason() -> None:
    policy = RestartPolicy(limit=2, within=60.0)
    config = VMConfig("web", ["web"], restart=policy)
    tired = record(VMState.RUNNING, config=config, restarted=(90.0, 95.0), life_began=99.0)
    after, _ = advance(tired, Exited(1, None, True), NOW)
    assert after.state is VMState.FAILED
    assert "2 restarts within 60 s are used up" in after.reason


def test_a_budget_that_is_used_up_by_good_ends_is_used_up_as_well() -> None:
    policy = RestartPolicy("always", limit=2, within=60.0)
    config = VMConfig("web", ["web"], restart=policy)
    tired = record(VMState.RUNNING, config=config, restarted=(90.0, 95.0), life_began=99.0)
    after, _ = advance(tired, Exited(0, None, True), NOW)
    assert after.state is VMState.FAILED
    assert after.reason.endswith("exited with code 0; 2 restarts within 60 s are used up")


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (probes.log("listening on"), "no line of its output matched 'listening on'"),
        (probes.notify(), "it never said READY=1"),
    ],
)
def test_a_probe_that_only_hears_says_what_it_has_not_heard(probe: Probe, words: str) -> None:
    starting = record(
        VMState.STARTING, config=VMConfig("web", ["web"], ready=probe), has_tree=True
    )
    after, _ = advance(starting, ReadyTimedOut(), NOW)
    after, effects = advance(after, Exited(None, 15, True), NOW)
    assert after.state is VMState.REMOVED
    told = outcome("allocate", after)
    assert isinstance(told, StartError)
    assert words in told.why
    assert after.reason == told.why  # and not that it was ended for it
    assert effects[-1] == Tell("removed", told.why)


def test_a_restart_waits_for_what_the_program_left() -> None:
    config = VMConfig("web", ["web"], restart="always")
    after, _ = advance(record(VMState.RUNNING, config=config), Exited(1, None, False), NOW)
    assert after.state is VMState.BACKOFF
    after, effects = advance(after, RestartDue(), NOW)
    assert after.state is VMState.BACKOFF
    assert Spawn() not in effects
    after, effects = advance(after, Gone(), NOW)
    assert after.state is VMState.STARTING
    assert Spawn() in effects


def test_nothing_restarts_once_a_removal_was_asked_for() -> None:
    config = VMConfig("web", ["web"], restart="always")
    stopping, _ = advance(record(VMState.RUNNING, config=config, has_tree=True), Remove(), NOW)
    after, effects = advance(stopping, Exited(None, 15, True), NOW)
    assert after.state is VMState.REMOVED
    assert Spawn() not in effects
    assert after.exit is not None
    assert after.exit.expected


def test_a_reset_while_being_removed_finds_nothing() -> None:
    stopping, _ = advance(record(VMState.RUNNING, has_tree=True), Remove(), NOW)
    assert refuses(stopping, Reset())
    assert not refuses(stopping, Remove())


def test_a_removal_overtakes_a_reset() -> None:
    stopping, _ = advance(record(VMState.RUNNING, has_tree=True), Reset(), NOW)
    assert stopping.then is Then.RESET
    after, _ = advance(stopping, Remove(), NOW)
    assert after.then is Then.REMOVE


@pytest.mark.parametrize(
    ("before", "begins"),
    [(record(VMState.RUNNING, has_tree=True), Reset()),
     (record(VMState.STARTING, has_tree=True, start=Start.RESET), None)],
    ids=["while it stops", "while it starts anew"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("end", "words"),
    [(Exited(0, None, True), "; the program exited with code 0"), (Gone(), "")],
    ids=["exited", "gone"],
)
def test_an_interrupted_reset_starts_nothing_and_says_so(
    before: Record, begins: lifecycle.Event | None, end: lifecycle.Event, words: str
) -> None:
    if begins is not None:
        before, _ = advance(before, begins, NOW)
    after, effects = advance(before, InterruptReset(), NOW)
    assert "its reset was interrupted: it is not started again" in (
        effect.detail for effect in effects if isinstance(effect, Tell)
    )
    after, effects = advance(after, end, NOW)
    assert after.state is VMState.FAILED
    assert after.reason == f"its reset was interrupted{words}"
    assert after.exit is None or after.exit.expected
    assert Spawn() not in effects


def test_a_removal_during_an_interrupted_reset_is_told() -> None:
    stopping, _ = advance(record(VMState.RUNNING, has_tree=True), Reset(), NOW)
    left, _ = advance(stopping, InterruptReset(), NOW)
    after, effects = advance(left, Remove(), NOW)
    assert after.reason == "stopping, then remove"
    assert Tell("stopping", "to remove") in effects
    assert advance(after, Remove(), NOW)[1] == ()  # again is no news


def test_an_interrupted_reset_does_not_speak_of_survivors_that_are_gone() -> None:
    after, _ = advance(record(VMState.RUNNING, has_tree=True), Reset(), NOW)
    for event in (InterruptReset(), Exited(0, None, False), Survived((Survivor(9, "x"),)), Gone()):
        after, _ = advance(after, event, NOW)
    assert after.state is VMState.FAILED
    assert after.reason == "its reset was interrupted; the program exited with code 0"


KILLED = Exited(None, 9, tree_gone=True)


def _later(seconds: float) -> Moment:
    return Moment(NOW.at + seconds, NOW.wall + seconds)


@pytest.mark.parametrize(
    ("asked", "after", "words"),
    [
        ([(0.0, None)], 5.0, ": it did not end within its grace of 5 s"),
        ([(0.0, 0.5)], 0.6, ": it did not end within its grace of 0.5 s"),
        ([(0.0, None), (1.0, 0.5)], 1.5, ": it did not end within its grace of 0.5 s"),
        ([(0.0, None), (1.0, 60.0)], 5.0, ": it did not end within its grace of 5 s"),
        ([(0.0, None)], 4.9, ""),  # by somebody else
        ([(0.0, 0.0)], 0.1, ""),  # it was given none
        ([(0.0, None), (1.0, 0.0)], 1.1, ""),
    ],
)
def test_who_was_killed_after_the_grace_is_told_so(
    asked: list[tuple[float, float | None]], after: float, words: str
) -> None:
    config = VMConfig("web", ["web"], stop=StopPolicy(grace=5.0))
    life = record(VMState.RUNNING, config=config, has_tree=True)
    for at, grace in asked:
        life, _ = advance(life, Remove(grace), _later(at))
    gone, effects = advance(life, KILLED, _later(after))
    assert gone.state is VMState.REMOVED
    told = f"the program was ended by SIGKILL{words}"
    assert gone.reason == told
    assert Tell("exited", told) in effects
    polite, _ = advance(life, Exited(None, 15, tree_gone=True), _later(after))
    assert polite.reason == "the program was ended by SIGTERM"


def test_a_next_life_knows_of_no_grace_of_the_last() -> None:
    life, _ = advance(record(VMState.RUNNING, has_tree=True), Reset(1.0), NOW)
    for event in (KILLED, Started(8), KILLED):
        life, _ = advance(life, event, _later(30.0))
    assert (life.state, life.reason) == (VMState.FAILED, "the program was ended by SIGKILL")


def test_a_kill_that_was_asked_for_is_no_lack_of_memory() -> None:
    life = record(VMState.RUNNING, config=VMConfig("web", ["web"], limits=Limits(memory=1000)))
    stopping, _ = advance(life, Remove(0.0), NOW)
    after, _ = advance(stopping, KILLED, NOW)
    assert "memory" not in after.reason


@pytest.mark.parametrize("state", [VMState.RUNNING, VMState.STARTING])
@pytest.mark.parametrize(
    ("limits", "number", "words"),
    [
        (Limits(cpu_time=3), signal.SIGXCPU, ": its limit of cpu_time, 3 s, is reached"),
        (Limits(file_size=9), signal.SIGXFSZ, ": its limit of file_size, 9 bytes, is reached"),
        (Limits(file_size=9), signal.SIGXCPU, ""),
        (Limits(), signal.SIGXFSZ, ""),
        (Limits(cpu_time=3), signal.SIGKILL, ""),
        (
            Limits(memory=1000),
            signal.SIGSEGV,
            ": it may want more than its limit of memory, 1000 bytes",
        ),
        (Limits(memory=1000), signal.SIGHUP, ""),
        (Limits(), signal.SIGSEGV, ""),
    ],
)
def test_an_end_by_a_limit_is_told_where_it_was_set(
    state: VMState, limits: Limits, number: int, words: str
) -> None:
    life = record(state, config=VMConfig("web", ["web"], limits=limits), start=Start.RESET)
    after, effects = advance(life, Exited(None, number, tree_gone=True), NOW)
    end = f"was ended by {signal.Signals(number).name}"
    start = f"it {end} before it was ready{words}"
    assert after.reason == (start if state is VMState.STARTING else f"the program {end}{words}")
    assert Tell("exited", f"the program {end}{words}") in effects


def test_survivors_make_it_unhealthy_and_their_end_finishes_the_stop() -> None:
    stopping, _ = advance(record(VMState.RUNNING, has_tree=True), Remove(), NOW)
    assert stopping.is_healthy
    stuck, _ = advance(stopping, Survived((Survivor(9, "stuck"),)), NOW)
    assert not stuck.is_healthy
    after, _ = advance(stuck, Gone(), NOW)
    assert after.state is VMState.REMOVED


def test_liveness_failures_in_a_row_make_it_unhealthy_and_it_recovers() -> None:
    config = VMConfig("web", ["web"], alive=probes.tcp(80, failures=2))
    one, _ = advance(record(VMState.RUNNING, config=config), AliveFailed("refused"), NOW)
    assert one.is_healthy
    two, effects = advance(one, AliveFailed("refused"), NOW)
    assert not two.is_healthy
    assert kinds(effects) == ["unhealthy"]
    after, effects = advance(two, AlivePassed("ok"), NOW)
    assert after.is_healthy
    assert kinds(effects) == ["recovered"]


def test_liveness_failures_restart_where_the_policy_says() -> None:
    config = VMConfig("web", ["web"], alive=probes.tcp(80, failures=1), restart="on-failure")
    running = record(VMState.RUNNING, config=config, has_tree=True)
    after, _ = advance(running, AliveFailed("refused"), NOW)
    assert (after.state, after.then) == (VMState.STOPPING, Then.RESTART)
    after, _ = advance(after, Exited(0, None, True), NOW)
    assert after.state is VMState.BACKOFF


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (Exited(3, None, True), "the program exited with code 3"),
        (Lost("its keeper was killed"), "its keeper was killed"),
        (StartFailed(StartError("no such thing")), "no such thing"),
    ],
    ids=["exited", "lost", "not started"],
)
def test_what_is_removed_before_its_restart_does_not_say_that_it_starts_again(
    event: lifecycle.Event, reason: str
) -> None:
    config = VMConfig("web", ["web"], restart="always")
    before = record(VMState.STARTING, config=config, start=Start.POLICY)
    if not isinstance(event, StartFailed):
        before = attrs.evolve(before, state=VMState.RUNNING)
    after, _ = advance(before, event, NOW)
    assert after.state is VMState.BACKOFF
    assert "; starts again in " in after.reason
    after, effects = advance(after, Remove(), NOW)
    assert after.reason == reason
    assert effects[-1] == Tell("removed", reason)


def test_what_is_ended_for_its_liveness_says_so_to_the_end() -> None:
    policy = RestartPolicy(limit=0)
    config = VMConfig("web", ["web"], alive=probes.tcp(80, failures=1), restart=policy)
    running = record(VMState.RUNNING, config=config, has_tree=True)
    config = attrs.evolve(config, restart="on-failure")
    for now, state in ((running, VMState.FAILED), (attrs.evolve(running, config=config), None)):
        after, effects = advance(now, AliveFailed("refused"), NOW)
        if state is None:
            assert Tell("stopping", "to restart: unhealthy: refused") in effects
            after, effects = advance(after, Exited(None, 15, True), NOW)
            assert after.state is VMState.BACKOFF
            words = "unhealthy: refused; the program was ended by SIGTERM; starts again in "
            assert after.reason.startswith(words)
        else:
            after, effects = advance(after, Exited(None, 15, True), NOW)
            assert after.state is state
            words = "unhealthy: refused; the program was ended by SIGTERM; 0 restarts within"
            assert after.reason.startswith(words)


def test_what_is_restarted_as_it_was_not_ready_says_so() -> None:
    config = VMConfig("web", ["web"], ready=probes.tcp(80, timeout=0.5), restart="on-failure")
    starting = record(VMState.STARTING, config=config, has_tree=True, start=Start.POLICY)
    after, effects = advance(starting, ReadyTimedOut(), NOW)
    why = "it was not ready after 0.5 s; no try of its probe has come to an end"
    assert Tell("stopping", f"to restart: {why}") in effects
    after, effects = advance(after, Exited(None, 15, True), NOW)
    assert after.reason.startswith(f"{why}; starts again in ")


@pytest.mark.parametrize(("initial", "delay"), [(0.0, 0.0), (0.1, 30.0)])
def test_however_many_short_lives_there_were_a_delay_is_bounded(
    initial: float, delay: float
) -> None:
    policy = RestartPolicy("always", initial=initial, jitter=0.0, limit=None)
    config = VMConfig("web", ["web"], restart=policy)
    tired = record(VMState.RUNNING, config=config, streak=5000)
    huge = attrs.evolve(config, restart=attrs.evolve(policy, factor=10**300))
    advance(attrs.evolve(tired, config=huge, streak=10**9), Exited(1, None, True), NOW)
    _, effects = advance(tired, Exited(1, None, True), NOW)
    assert ArmRestart(delay) in effects


def test_a_reset_makes_the_counters_new() -> None:
    tired = record(VMState.FAILED, restarts=5, restarted=(99.0,), streak=5, generation=6)
    after, effects = advance(tired, Reset(), NOW)
    assert (after.state, after.generation, after.restarts) == (VMState.STARTING, 7, 0)
    assert after.is_healthy
    assert Spawn() in effects
