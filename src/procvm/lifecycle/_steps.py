"""Guards and steps: the named small parts that the table's rows are made of.

A guard looks at (record, event, now). A step writes on a draft of ``advance``'s own and returns
its effects; ``advance`` sets the row's next state after the last step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from ..errors import ExitedBeforeReadyError, ReadyTimeoutError, StartError
from ..facts import Exit, signal_name
from ..probes import Log, Notify, Probe
from ._record import (
    BACKOFF,
    STARTING,
    STOPPING,
    ArmReady,
    ArmRestart,
    Draft,
    Effect,
    Moment,
    Quiet,
    Spawn,
    Start,
    Stop,
    Tell,
    Then,
    Watch,
)  # fmt: skip
from ._restarts import next_delay, restarts_used_up, streak_now

__all__ = ["GUARDS", "STEPS"]

Effects = tuple[Effect, ...]
Step = Callable[[Draft, Any, Moment], Effects]

_AGAIN = "; starts again in "
_INTERRUPTED = "its reset was interrupted"
_REMOVE, _RESET, _RESTART = Then.REMOVE, Then.RESET, Then.RESTART
_ASKED = (_REMOVE, _RESET, Then.ABANDON)
_QUIET = Quiet()
# By these ends who is refused memory and has not looked, or has given up.
_OUT_OF_MEMORY = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGKILL")
_START: Effects = (_QUIET, Spawn())


def _asked(draft: Draft) -> bool:
    return draft.then in _ASKED


def _failed(draft: Draft, event: Any) -> bool:
    """Whether this end is a failure: anything but a success code, seen while running."""
    if draft.state is STARTING or draft.then is _RESTART:
        return True
    return getattr(event, "code", None) not in draft.config.success_codes


def _will_restart(draft: Draft, event: Any, now: Moment) -> bool:
    return next_delay(draft, now, failed=_failed(draft, event)) is not None


def _at_limit(draft: Draft, _: Any, __: Moment) -> bool:
    probe = draft.config.alive
    return probe is not None and not draft.is_unhealthy and draft.failures + 1 >= probe.failures


GUARDS: dict[str, Callable[[Draft, Any, Moment], bool]] = {
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
    "then remove": lambda r, e, n: r.then is _REMOVE,
    "then reset": lambda r, e, n: r.then is _RESET,
    "then restart, policy restarts": lambda r, e, n: r.then is _RESTART and _will_restart(r, e, n),
}


def _note_pid(draft: Draft, event: Any, now: Moment) -> Effects:
    draft.pid, draft.has_tree = event.pid, True
    draft.started_at, draft.life_began = now.wall, now.at
    return (Tell("started", f"process {event.pid} is executing"),)


def _watch_ready(draft: Draft, event: Any, now: Moment) -> Effects:
    probe = draft.config.ready
    draft.reason = "not ready yet"
    return Watch("ready"), ArmReady(probe.ready_timeout if probe else 0.0)


def _be_running(draft: Draft, event: Any, now: Moment) -> Effects:
    words = getattr(event, "words", "")
    draft.reason = f"ready: {words}" if words else "running"
    draft.is_troubled = draft.is_unhealthy = False
    draft.failures, draft.failure = 0, None
    draft.words = draft.cause = ""
    effects = (_QUIET, Tell("ready", draft.reason))
    return effects if draft.config.alive is None else (*effects, Watch("alive"))


def _note_words(draft: Draft, event: Any, now: Moment) -> Effects:
    draft.words, draft.reason = event.words, f"not ready yet: {event.words}"
    return ()


def _show_words(draft: Draft, event: Any, now: Moment) -> Effects:
    draft.reason = f"running: {event.words}"
    return ()


def _tell_words(draft: Draft, event: Any, now: Moment) -> Effects:
    return (Tell("status", event.words),)


def _note_exit(draft: Draft, event: Any, now: Moment) -> Effects:
    end = draft.exit = Exit(event.code, event.signal, now.wall, _asked(draft))
    why = event.why or _why_ended(draft, event.signal, now)
    words = draft.reason = f"the program {end}" + (f": {why}" if why else "")
    if draft.then is _RESTART and draft.cause:
        draft.reason = f"{draft.cause}; {words}"  # it was ended for that
    draft.pid, draft.has_tree = None, not event.tree_gone
    return _QUIET, Tell("exited", words)


def _why_ended(draft: Draft, signal: int | None, now: Moment) -> str:
    """Return what a signal was sent for, where the grace or a limit tells it; else nothing."""
    name, limits = "" if signal is None else signal_name(signal), draft.config.limits
    if name == "SIGKILL" and draft.kill_at is not None and now.at >= draft.kill_at and draft.grace:
        return f"it did not end within its grace of {draft.grace:g} s"
    if name == "SIGXCPU" and limits.cpu_time is not None:
        return f"its limit of cpu_time, {limits.cpu_time} s, is reached"
    if name == "SIGXFSZ" and limits.file_size is not None:
        return f"its limit of file_size, {limits.file_size} bytes, is reached"
    if name in _OUT_OF_MEMORY and limits.memory is not None and draft.kill_at is None:
        return f"it may want more than its limit of memory, {limits.memory} bytes"
    return ""


def _keep_failure(draft: Draft, event: Any, now: Moment) -> Effects:
    error = getattr(event, "error", None)
    facts: dict[str, Any] = {
        "name": draft.config.name, "vm_id": draft.vm_id, "argv": draft.config.command,
        "directory": draft.config.path, "step": "ready", "exit": draft.exit,
    }  # fmt: skip
    said = f"; its probe said last: {draft.words}" if draft.words else ""
    if isinstance(error, StartError):
        kept: StartError = attrs.evolve(error, name=draft.config.name, vm_id=draft.vm_id)
        kept.__cause__ = error.__cause__
    elif type(event).__name__ == "ReadyTimedOut":
        probe = draft.config.ready
        seconds = probe.ready_timeout if probe else 0.0
        why = f"it was not ready after {seconds:g} s{said or _unheard(probe)}"
        kept = ReadyTimeoutError(why, **facts)
    else:
        why = f"it {draft.exit} before it was ready"
        if draft.exit is not None and draft.exit.code == 0:
            why += " (a job that only ends needs no ready; a server stays in the foreground)"
        elif told := event.why or _why_ended(draft, getattr(event, "signal", None), now):
            why += f": {told}"
        kept = ExitedBeforeReadyError(why + said, **facts)
    draft.failure, draft.reason, draft.is_troubled = kept, kept.why, True
    return (_QUIET,)


def _unheard(probe: Probe | None) -> str:
    """Return what a probe that hears, and is never asked, has missed."""
    if isinstance(probe, Log):
        buffered = "what a program buffers is not seen: python -u"
        return f"; no line of its output matched {probe.pattern!r} ({buffered})"
    if isinstance(probe, Notify):
        return "; it never said READY=1"
    return "; no try of its probe has come to an end"


def _then(what: Then) -> Step:
    def step(draft: Draft, event: Any, now: Moment) -> Effects:
        was, draft.then = draft.then, what
        if draft.state is not STOPPING or was is what or draft.survivors:
            return ()
        draft.reason = f"stopping, then {what}"
        return (Tell("stopping", f"to {what}"),)

    return step


def _abandon(draft: Draft, event: Any, now: Moment) -> Effects:
    draft.then, draft.reason = Then.ABANDON, _INTERRUPTED
    return (Tell("warning", f"{_INTERRUPTED}: it is not started again"),)


def _stop(draft: Draft, event: Any, now: Moment) -> Effects:
    grace = getattr(event, "grace", None)
    stop = _within(draft, draft.config.stop.grace if grace is None else grace, now)
    why = draft.cause if draft.then is _RESTART else ""
    if draft.failure is not None and draft.state is STARTING:
        why = draft.failure.why
    was_told, draft.survivors = bool(draft.survivors), ()
    draft.reason = f"stopping, then {draft.then}"
    if was_told:
        return _QUIET, stop
    return _QUIET, stop, Tell("stopping", f"to {draft.then}" + (why and f": {why}"))


def _hurry(draft: Draft, event: Any, now: Moment) -> Effects:
    grace = getattr(event, "grace", None)
    if grace is None and not draft.survivors:
        return ()
    if draft.survivors:  # it is asked once more
        draft.kill_at = None
    draft.survivors = ()
    return (_within(draft, 0.0 if grace is None else grace, now),)


def _within(draft: Draft, grace: float, now: Moment) -> Stop:
    """Note when it will be killed, by the shortest grace that was given, and ask it to end."""
    kill_at = now.at + grace
    if draft.kill_at is None or kill_at < draft.kill_at:
        draft.grace, draft.kill_at = grace, kill_at
    return Stop(grace)


def _back_off(draft: Draft, event: Any, now: Moment) -> Effects:
    delay = next_delay(draft, now, failed=True) or 0.0
    why = draft.failure.why if draft.failure else draft.reason
    if why.startswith("stopping"):  # nothing has told how it ended
        why = draft.cause or "it is gone"
    draft.then, draft.is_troubled, draft.is_due = None, True, False
    draft.streak = streak_now(draft, now)
    draft.reason = f"{why}{_AGAIN}{delay:.3g} s"
    return ArmRestart(delay), Tell("backoff", draft.reason)


def _be_failed(draft: Draft, event: Any, now: Moment) -> Effects:
    if draft.failure:
        draft.reason = draft.failure.why  # not that it was ended for it
    policy = draft.config.restart
    if draft.start is not Start.RESET and policy.when != "never" and restarts_used_up(draft, now):
        draft.reason += f"; {policy.limit} restarts within {policy.within:g} s are used up"
    if draft.then is Then.ABANDON:
        end = f"; the program {draft.exit}" if draft.exit is not None else ""
        draft.reason = f"{_INTERRUPTED}{end}"
    draft.then = draft.pid = None
    return (Tell("failed", draft.reason),)


def _spawn(start: Start) -> Step:
    reason = f"starting, asked by {start}"

    def step(draft: Draft, event: Any, now: Moment) -> Effects:
        draft.generation += 1
        draft.start, draft.reason = start, reason
        draft.then = draft.pid = draft.started_at = draft.life_began = draft.failure = None
        draft.kill_at = None
        draft.is_due = draft.is_unhealthy = draft.has_tree = False
        draft.words = draft.cause = ""
        draft.failures, draft.survivors = 0, ()
        if start is Start.RESET:
            draft.restarts = draft.streak = 0
            draft.restarted, draft.is_troubled = (), False
        else:
            draft.restarts += 1
            draft.streak += 1
            draft.restarted = (*draft.restarted, now.at)[-1000:]
        return _START

    return step


def _be_removed(draft: Draft, event: Any, now: Moment) -> Effects:
    waits = draft.state is BACKOFF
    if draft.failure is not None and (waits or draft.start is Start.ALLOCATE):
        draft.reason = draft.failure.why  # and not that it was ended for it
    elif waits:
        draft.reason = draft.reason.rpartition(_AGAIN)[0] or draft.reason
    draft.then = draft.pid = None
    draft.has_tree = draft.is_due = False
    draft.survivors = ()
    return _QUIET, Tell("removed", draft.reason)


def _note_gone(draft: Draft, event: Any, now: Moment) -> Effects:
    draft.has_tree, draft.survivors = False, ()
    return ()


def _note_lost(draft: Draft, event: Any, now: Moment) -> Effects:
    draft.exit = Exit(None, None, now.wall, expected=_asked(draft))
    draft.pid, draft.has_tree, draft.reason = None, False, event.why
    return _QUIET, Tell("exited", event.why)


def _note_survivors(draft: Draft, event: Any, now: Moment) -> Effects:
    who = ", ".join(map(str, event.survivors))
    draft.survivors, draft.reason = event.survivors, f"still alive after SIGKILL: {who}"
    return (Tell("warning", draft.reason),)


def _be_due(draft: Draft, event: Any, now: Moment) -> Effects:
    draft.is_due = True
    return ()


def _count_failure(draft: Draft, event: Any, now: Moment) -> Effects:
    draft.failures += 1
    return ()


def _be_unhealthy(draft: Draft, event: Any, now: Moment) -> Effects:
    draft.is_unhealthy = True
    draft.reason = draft.cause = f"unhealthy: {event.words}"
    return (Tell("unhealthy", draft.reason),)


def _recover(draft: Draft, event: Any, now: Moment) -> Effects:
    draft.failures, draft.is_unhealthy = 0, False
    draft.reason, draft.cause = "running", ""
    return (Tell("recovered", event.words),)


def _calm(draft: Draft, event: Any, now: Moment) -> Effects:
    draft.failures = 0
    return ()


STEPS: dict[str, Step] = {
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
