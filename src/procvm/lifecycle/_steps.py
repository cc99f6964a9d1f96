"""Guards and steps: the named small parts that the table's rows are made of.

A guard looks at (record, event, now). A step returns the record changed, which is a draft of
``advance``'s own, and its effects; ``advance`` sets the row's next state after the last step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from ..errors import ExitedBeforeReadyError, ReadyTimeoutError, StartError
from ..facts import Exit, VMState
from ..probes import Log, Notify, Probe
from ._record import (
    ArmReady,
    ArmRestart,
    Effect,
    Moment,
    Quiet,
    Record,
    Spawn,
    Start,
    Stop,
    Tell,
    Then,
    Watch,
    changed,
)  # fmt: skip
from ._restarts import next_delay, restarts_used_up, streak_now

__all__ = ["GUARDS", "STEPS"]

Change = tuple[Record, tuple[Effect, ...]]

_AGAIN = "; starts again in "
_INTERRUPTED = "its reset was interrupted"
_QUIET = Quiet()
_START: tuple[Effect, ...] = (_QUIET, Spawn())


def _asked(record: Record) -> bool:
    return record.then in (Then.REMOVE, Then.RESET, Then.ABANDON)


def _failed(record: Record, event: Any) -> bool:
    """Whether this end is a failure: anything but a success code, seen while running."""
    if record.state is VMState.STARTING or record.then is Then.RESTART:
        return True
    return getattr(event, "code", None) not in record.config.success_codes


def _will_restart(record: Record, event: Any, now: Moment) -> bool:
    return next_delay(record, now, failed=_failed(record, event)) is not None


def _at_limit(record: Record, _: Any, __: Moment) -> bool:
    probe = record.config.alive
    return probe is not None and not record.is_unhealthy and record.failures + 1 >= probe.failures


GUARDS: dict[str, Callable[[Record, Any, Moment], bool]] = {
    "always": lambda r, e, n: True,
    "has a ready probe": lambda r, e, n: r.config.ready is not None,
    "first start": lambda r, e, n: r.start is Start.ALLOCATE,
    "first start, tree gone": lambda r, e, n: r.start is Start.ALLOCATE and e.tree_gone,
    "start of a reset": lambda r, e, n: r.start is Start.RESET,
    "start of a reset, tree gone": lambda r, e, n: r.start is Start.RESET and e.tree_gone,
    "policy restarts": _will_restart,
    "success, not always": lambda r, e, n: not _failed(r, e) and r.config.restart.when != "always",
    "is unhealthy": lambda r, e, n: r.is_unhealthy,
    "was unhealthy": lambda r, e, n: r.is_unhealthy,
    "too many, policy restarts": lambda r, e, n: (
        _at_limit(r, e, n) and r.config.restart.when != "never"
    ),
    "too many": _at_limit,
    "tree alive": lambda r, e, n: r.has_tree,
    "due": lambda r, e, n: r.is_due,
    "tree left": lambda r, e, n: not e.tree_gone,
    "then remove": lambda r, e, n: r.then is Then.REMOVE,
    "then reset": lambda r, e, n: r.then is Then.RESET,
    "then restart, policy restarts": lambda r, e, n: (
        r.then is Then.RESTART and _will_restart(r, e, n)
    ),
}


def _note_pid(record: Record, event: Any, now: Moment) -> Change:
    record = changed(record, pid=event.pid, started_at=now.wall, life_began=now.at, has_tree=True)
    return record, (Tell("started", f"process {event.pid} is executing"),)


def _watch_ready(record: Record, event: Any, now: Moment) -> Change:
    probe = record.config.ready
    seconds = probe.ready_timeout if probe else 0.0
    return changed(record, reason="not ready yet"), (Watch("ready"), ArmReady(seconds))


def _be_running(record: Record, event: Any, now: Moment) -> Change:
    words = getattr(event, "words", "")
    record = changed(
        record, reason=f"ready: {words}" if words else "running", is_troubled=False,
        is_unhealthy=False, failures=0, failure=None, words="", cause="",
    )  # fmt: skip
    effects: tuple[Effect, ...] = (_QUIET, Tell("ready", record.reason))
    if record.config.alive is not None:
        effects = (*effects, Watch("alive"))
    return record, effects


def _note_words(record: Record, event: Any, now: Moment) -> Change:
    return changed(record, words=event.words, reason=f"not ready yet: {event.words}"), ()


def _show_words(record: Record, event: Any, now: Moment) -> Change:
    return changed(record, reason=f"running: {event.words}"), ()


def _tell_words(record: Record, event: Any, now: Moment) -> Change:
    return record, (Tell("status", event.words),)


def _note_exit(record: Record, event: Any, now: Moment) -> Change:
    code, signal = getattr(event, "code", None), getattr(event, "signal", None)
    end = Exit(code, signal, now.wall, expected=_asked(record))
    why = getattr(event, "why", "")
    words = reason = f"the program {end}" + (f": {why}" if why else "")
    if record.then is Then.RESTART and record.cause:
        reason = f"{record.cause}; {words}"  # it was ended for that
    gone = getattr(event, "tree_gone", True)
    record = changed(record, pid=None, exit=end, has_tree=not gone, reason=reason)
    return record, (_QUIET, Tell("exited", words))


def _keep_failure(record: Record, event: Any, now: Moment) -> Change:
    error = getattr(event, "error", None)
    facts: dict[str, Any] = {
        "name": record.config.name, "vm_id": record.vm_id, "argv": record.config.command,
        "directory": record.config.path, "step": "ready", "exit": record.exit,
    }  # fmt: skip
    said = f"; its probe said last: {record.words}" if record.words else ""
    if isinstance(error, StartError):
        kept: StartError = attrs.evolve(error, name=record.config.name, vm_id=record.vm_id)
        kept.__cause__ = error.__cause__
    elif type(event).__name__ == "ReadyTimedOut":
        probe = record.config.ready
        seconds = probe.ready_timeout if probe else 0.0
        why = f"it was not ready after {seconds:g} s{said or _unheard(probe)}"
        kept = ReadyTimeoutError(why, **facts)
    else:
        why = f"it {record.exit} before it was ready"
        if record.exit is not None and record.exit.code == 0:
            why += " (a job that only ends needs no ready; a server stays in the foreground)"
        kept = ExitedBeforeReadyError(why + said, **facts)
    return changed(record, failure=kept, reason=kept.why, is_troubled=True), (_QUIET,)


def _unheard(probe: Probe | None) -> str:
    """Return what a probe that hears, and is never asked, has missed."""
    if isinstance(probe, Log):
        buffered = "what a program buffers is not seen: python -u"
        return f"; no line of its output matched {probe.pattern!r} ({buffered})"
    if isinstance(probe, Notify):
        return "; it never said READY=1"
    return "; no try of its probe has come to an end"


def _then(what: Then) -> Callable[[Record, Any, Moment], Change]:
    def step(record: Record, event: Any, now: Moment) -> Change:
        return changed(record, then=what), ()

    return step


def _abandon(record: Record, event: Any, now: Moment) -> Change:
    record = changed(record, then=Then.ABANDON, reason=_INTERRUPTED)
    return record, (Tell("warning", f"{_INTERRUPTED}: it is not started again"),)


def _stop(record: Record, event: Any, now: Moment) -> Change:
    grace = getattr(event, "grace", None)
    seconds = record.config.stop.grace if grace is None else grace
    why = record.cause if record.then is Then.RESTART else ""
    if record.failure is not None and record.state is VMState.STARTING:
        why = record.failure.why
    words = f"to {record.then}" + (why and f": {why}")
    told: tuple[Effect, ...] = () if record.survivors else (Tell("stopping", words),)
    record = changed(record, survivors=(), reason=f"stopping, then {record.then}")
    return record, (_QUIET, Stop(seconds), *told)


def _hurry(record: Record, event: Any, now: Moment) -> Change:
    grace = getattr(event, "grace", None)
    if grace is None and not record.survivors:
        return record, ()
    seconds = 0.0 if grace is None else grace
    return changed(record, survivors=()), (Stop(seconds),)


def _back_off(record: Record, event: Any, now: Moment) -> Change:
    delay = next_delay(record, now, failed=True) or 0.0
    why = record.failure.why if record.failure else record.reason
    if why.startswith("stopping"):  # nothing has told how it ended
        why = record.cause or "it is gone"
    record = changed(
        record, then=None, is_troubled=True, is_due=False, streak=streak_now(record, now),
        reason=f"{why}{_AGAIN}{delay:.3g} s",
    )  # fmt: skip
    return record, (ArmRestart(delay), Tell("backoff", record.reason))


def _be_failed(record: Record, event: Any, now: Moment) -> Change:
    reason = (
        record.failure.why if record.failure else record.reason
    )  # not that it was ended for it
    policy = record.config.restart
    if (
        record.start is not Start.RESET
        and policy.when != "never"
        and restarts_used_up(record, now)
    ):
        reason += f"; {policy.limit} restarts within {policy.within:g} s are used up"
    if record.then is Then.ABANDON:
        end = f"; the program {record.exit}" if record.exit is not None else ""
        reason = f"{_INTERRUPTED}{end}"
    return changed(record, then=None, pid=None, reason=reason), (Tell("failed", reason),)


def _spawn(start: Start) -> Callable[[Record, Any, Moment], Change]:
    def step(record: Record, event: Any, now: Moment) -> Change:
        record = changed(
            record, start=start, then=None, generation=record.generation + 1, pid=None, words="",
            started_at=None, is_due=False, failures=0, is_unhealthy=False, survivors=(),
            failure=None, has_tree=False, life_began=None, reason=f"starting, asked by {start}",
            cause="",
        )  # fmt: skip
        if start is Start.RESET:
            record = changed(record, restarts=0, restarted=(), streak=0, is_troubled=False)
        else:
            kept = (*record.restarted, now.at)[-1000:]
            record = changed(
                record, restarts=record.restarts + 1, restarted=kept, streak=record.streak + 1
            )
        return record, _START

    return step


def _be_removed(record: Record, event: Any, now: Moment) -> Change:
    reason, waits = record.reason, record.state is VMState.BACKOFF
    if record.failure is not None and (waits or record.start is Start.ALLOCATE):
        reason = record.failure.why  # and not that it was ended for it
    elif waits:
        reason = reason.rpartition(_AGAIN)[0] or reason
    record = changed(
        record, then=None, pid=None, has_tree=False, is_due=False, survivors=(), reason=reason
    )
    return record, (_QUIET, Tell("removed", record.reason))


def _note_gone(record: Record, event: Any, now: Moment) -> Change:
    return changed(record, has_tree=False, survivors=()), ()


def _note_lost(record: Record, event: Any, now: Moment) -> Change:
    end = Exit(None, None, now.wall, expected=_asked(record))
    record = changed(record, pid=None, exit=end, has_tree=False, reason=event.why)
    return record, (_QUIET, Tell("exited", event.why))


def _note_survivors(record: Record, event: Any, now: Moment) -> Change:
    who = ", ".join(map(str, event.survivors))
    reason = f"still alive after SIGKILL: {who}"
    return changed(record, survivors=event.survivors, reason=reason), (Tell("warning", reason),)


def _be_due(record: Record, event: Any, now: Moment) -> Change:
    return changed(record, is_due=True), ()


def _count_failure(record: Record, event: Any, now: Moment) -> Change:
    return changed(record, failures=record.failures + 1), ()


def _be_unhealthy(record: Record, event: Any, now: Moment) -> Change:
    reason = f"unhealthy: {event.words}"
    record = changed(record, is_unhealthy=True, reason=reason, cause=reason)
    return record, (Tell("unhealthy", reason),)


def _recover(record: Record, event: Any, now: Moment) -> Change:
    record = changed(record, failures=0, is_unhealthy=False, reason="running", cause="")
    return record, (Tell("recovered", event.words),)


def _calm(record: Record, event: Any, now: Moment) -> Change:
    return (changed(record, failures=0), ()) if record.failures else (record, ())


STEPS: dict[str, Callable[[Record, Any, Moment], Change]] = {
    "note pid": _note_pid,
    "watch ready": _watch_ready,
    "run": _be_running,
    "note words": _note_words,
    "show words": _show_words,
    "tell words": _tell_words,
    "note exit": _note_exit,
    "note gone": _note_gone,
    "note lost": _note_lost,
    "note survivors": _note_survivors,
    "keep failure": _keep_failure,
    "then remove": _then(Then.REMOVE),
    "then reset": _then(Then.RESET),
    "then restart": _then(Then.RESTART),
    "then fail": _then(Then.FAIL),
    "abandon": _abandon,
    "stop": _stop,
    "hurry": _hurry,
    "back off": _back_off,
    "fail": _be_failed,
    "remove": _be_removed,
    "spawn for reset": _spawn(Start.RESET),
    "spawn by policy": _spawn(Start.POLICY),
    "be due": _be_due,
    "count failure": _count_failure,
    "be unhealthy": _be_unhealthy,
    "recover": _recover,
    "calm": _calm,
}
