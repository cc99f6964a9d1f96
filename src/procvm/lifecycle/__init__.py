"""Floor 4, the rules: one literal table and a pure function over frozen values.

No clock, thread, chance or operating system; what is due comes out as effects.
"""

from __future__ import annotations

from ._advance import advance, begin, refuses
from ._outcomes import outcome
from ._record import (
    AliveFailed,
    AlivePassed,
    ArmReady,
    ArmRestart,
    Effect,
    Event,
    Exited,
    Gone,
    InterruptReset,
    Lost,
    Moment,
    Quiet,
    ReadyFailed,
    ReadyPassed,
    ReadyTimedOut,
    Record,
    Remove,
    Reset,
    RestartDue,
    Said,
    Spawn,
    Start,
    Started,
    StartFailed,
    Stop,
    Survived,
    Tell,
    Then,
    Watch,
)  # fmt: skip
from ._table import ROWS, Row

__all__ = [
    "ROWS", "AliveFailed", "AlivePassed", "ArmReady", "ArmRestart", "Effect", "Event",
    "Exited", "Gone", "InterruptReset", "Lost", "Moment", "Quiet", "ReadyFailed", "ReadyPassed",
    "ReadyTimedOut", "Record", "Remove", "Reset", "RestartDue", "Row", "Said", "Spawn", "Start",
    "StartFailed", "Started", "Stop", "Survived", "Tell", "Then", "Watch", "advance",
    "begin", "is_final", "outcome", "refuses",
]  # fmt: skip

from ..facts import VMState


def is_final(state: VMState) -> bool:
    """Tell whether a VM in this state stays there unless somebody asks."""
    return state in (VMState.EXITED, VMState.FAILED, VMState.REMOVED)
