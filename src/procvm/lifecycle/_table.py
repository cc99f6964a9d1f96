"""The law: every row of a VM's life, read top down; the first row whose guard holds applies."""

from __future__ import annotations

import attrs

from ..facts import VMState
from ._record import BACKOFF, EXITED, FAILED, REMOVED, RUNNING, STARTING, STOPPING

__all__ = ["ROWS", "Row"]


@attrs.frozen
class Row:
    """When ``event`` comes in ``state`` and ``guard`` holds: the next state and what is done."""

    state: VMState
    event: str
    guard: str
    next: VMState
    steps: tuple[str, ...] = ()


# fmt: off
ROWS: tuple[Row, ...] = (
    Row(STARTING, "Started", "has a ready probe", STARTING, ("note pid", "watch ready")),
    Row(STARTING, "Started", "always", RUNNING, ("note pid", "run")),
    Row(STARTING, "StartFailed", "first start", REMOVED, ("keep failure", "remove")),
    Row(STARTING, "StartFailed", "start of a reset", FAILED, ("keep failure", "fail")),
    Row(STARTING, "StartFailed", "policy restarts", BACKOFF, ("keep failure", "back off")),
    Row(STARTING, "StartFailed", "always", FAILED, ("keep failure", "fail")),
    Row(STARTING, "ReadyPassed", "always", RUNNING, ("run",)),
    Row(STARTING, "ReadyFailed", "always", STARTING, ("note words",)),
    Row(STARTING, "Said", "always", STARTING, ("note words", "tell words")),
    Row(STARTING, "ReadyTimedOut", "first start", STOPPING, ("keep failure", "then remove", "stop")),
    Row(STARTING, "ReadyTimedOut", "start of a reset", STOPPING, ("keep failure", "then fail", "stop")),
    Row(STARTING, "ReadyTimedOut", "always", STOPPING, ("keep failure", "then restart", "stop")),
    Row(STARTING, "Exited", "first start, tree gone", REMOVED, ("note exit", "keep failure", "remove")),
    Row(STARTING, "Exited", "first start", STOPPING, ("note exit", "keep failure", "then remove", "stop")),
    Row(STARTING, "Exited", "start of a reset, tree gone", FAILED, ("note exit", "keep failure", "fail")),
    Row(STARTING, "Exited", "start of a reset", STOPPING, ("note exit", "keep failure", "then fail", "stop")),
    Row(STARTING, "Exited", "policy restarts", BACKOFF, ("note exit", "keep failure", "back off")),
    Row(STARTING, "Exited", "always", FAILED, ("note exit", "keep failure", "fail")),
    Row(STARTING, "Lost", "first start", REMOVED, ("note lost", "keep failure", "remove")),
    Row(STARTING, "Lost", "start of a reset", FAILED, ("note lost", "keep failure", "fail")),
    Row(STARTING, "Lost", "policy restarts", BACKOFF, ("note lost", "keep failure", "back off")),
    Row(STARTING, "Lost", "always", FAILED, ("note lost", "keep failure", "fail")),
    Row(STARTING, "Remove", "always", STOPPING, ("then remove", "stop")),
    Row(STARTING, "Reset", "always", STOPPING, ("then reset", "stop")),
    Row(STARTING, "InterruptReset", "start of a reset", STOPPING, ("abandon", "stop")),

    Row(RUNNING, "Exited", "policy restarts", BACKOFF, ("note exit", "back off")),
    Row(RUNNING, "Exited", "success, not always", EXITED, ("note exit",)),
    Row(RUNNING, "Exited", "always", FAILED, ("note exit", "fail")),
    Row(RUNNING, "Lost", "policy restarts", BACKOFF, ("note lost", "back off")),
    Row(RUNNING, "Lost", "always", FAILED, ("note lost", "fail")),
    Row(RUNNING, "Said", "is unhealthy", RUNNING, ("tell words",)),
    Row(RUNNING, "Said", "always", RUNNING, ("show words", "tell words")),
    Row(RUNNING, "AlivePassed", "was unhealthy", RUNNING, ("recover",)),
    Row(RUNNING, "AlivePassed", "always", RUNNING, ("calm",)),
    Row(RUNNING, "AliveFailed", "too many, policy restarts", STOPPING, ("be unhealthy", "then restart", "stop")),
    Row(RUNNING, "AliveFailed", "too many", RUNNING, ("count failure", "be unhealthy")),
    Row(RUNNING, "AliveFailed", "always", RUNNING, ("count failure",)),
    Row(RUNNING, "Remove", "always", STOPPING, ("then remove", "stop")),
    Row(RUNNING, "Reset", "always", STOPPING, ("then reset", "stop")),

    Row(BACKOFF, "RestartDue", "tree alive", BACKOFF, ("be due",)),
    Row(BACKOFF, "RestartDue", "always", STARTING, ("spawn by policy",)),
    Row(BACKOFF, "Gone", "due", STARTING, ("note gone", "spawn by policy")),
    Row(BACKOFF, "Gone", "always", BACKOFF, ("note gone",)),
    Row(BACKOFF, "Lost", "due", STARTING, ("note gone", "spawn by policy")),
    Row(BACKOFF, "Lost", "always", BACKOFF, ("note gone",)),
    Row(BACKOFF, "Survived", "always", BACKOFF, ("note survivors",)),
    Row(BACKOFF, "Remove", "tree alive", STOPPING, ("then remove", "stop")),
    Row(BACKOFF, "Remove", "always", REMOVED, ("remove",)),
    Row(BACKOFF, "Reset", "tree alive", STOPPING, ("then reset", "stop")),
    Row(BACKOFF, "Reset", "always", STARTING, ("spawn for reset",)),

    Row(STOPPING, "Started", "always", STOPPING, ("note pid",)),
    Row(STOPPING, "StartFailed", "then remove", REMOVED, ("remove",)),
    Row(STOPPING, "StartFailed", "then reset", STARTING, ("spawn for reset",)),
    Row(STOPPING, "StartFailed", "then restart, policy restarts", BACKOFF, ("note gone", "back off")),
    Row(STOPPING, "StartFailed", "always", FAILED, ("note gone", "fail")),
    Row(STOPPING, "Exited", "tree left", STOPPING, ("note exit",)),
    Row(STOPPING, "Exited", "then remove", REMOVED, ("note exit", "remove")),
    Row(STOPPING, "Exited", "then reset", STARTING, ("note exit", "spawn for reset")),
    Row(STOPPING, "Exited", "then restart, policy restarts", BACKOFF, ("note exit", "back off")),
    Row(STOPPING, "Exited", "always", FAILED, ("note exit", "fail")),
    Row(STOPPING, "Gone", "then remove", REMOVED, ("remove",)),
    Row(STOPPING, "Gone", "then reset", STARTING, ("spawn for reset",)),
    Row(STOPPING, "Gone", "then restart, policy restarts", BACKOFF, ("note gone", "back off")),
    Row(STOPPING, "Gone", "always", FAILED, ("note gone", "fail")),
    Row(STOPPING, "Lost", "then remove", REMOVED, ("note lost", "remove")),
    Row(STOPPING, "Lost", "then reset", STARTING, ("note lost", "spawn for reset")),
    Row(STOPPING, "Lost", "then restart, policy restarts", BACKOFF, ("note lost", "back off")),
    Row(STOPPING, "Lost", "always", FAILED, ("note lost", "fail")),
    Row(STOPPING, "Said", "always", STOPPING, ("tell words",)),
    Row(STOPPING, "Survived", "always", STOPPING, ("note survivors",)),
    Row(STOPPING, "Remove", "then remove", STOPPING, ("hurry",)),
    Row(STOPPING, "Remove", "always", STOPPING, ("then remove", "hurry")),
    Row(STOPPING, "Reset", "always", STOPPING, ("then reset", "hurry")),
    Row(STOPPING, "InterruptReset", "then reset", STOPPING, ("abandon",)),

    Row(EXITED, "Gone", "always", EXITED, ("note gone",)),
    Row(EXITED, "Lost", "always", EXITED, ("note gone",)),
    Row(EXITED, "Survived", "always", EXITED, ("note survivors",)),
    Row(EXITED, "Remove", "tree alive", STOPPING, ("then remove", "stop")),
    Row(EXITED, "Remove", "always", REMOVED, ("remove",)),
    Row(EXITED, "Reset", "tree alive", STOPPING, ("then reset", "stop")),
    Row(EXITED, "Reset", "always", STARTING, ("spawn for reset",)),

    Row(FAILED, "Gone", "always", FAILED, ("note gone",)),
    Row(FAILED, "Lost", "always", FAILED, ("note gone",)),
    Row(FAILED, "Survived", "always", FAILED, ("note survivors",)),
    Row(FAILED, "Remove", "tree alive", STOPPING, ("then remove", "stop")),
    Row(FAILED, "Remove", "always", REMOVED, ("remove",)),
    Row(FAILED, "Reset", "tree alive", STOPPING, ("then reset", "stop")),
    Row(FAILED, "Reset", "always", STARTING, ("spawn for reset",)),
)
# fmt: on
