"""The record of one life, and everything that can happen to it, as frozen values."""

from __future__ import annotations

import enum

import attrs

from ..config import VMConfig
from ..errors import StartError
from ..facts import Exit, Survivor, VMState

__all__ = [
    "AliveFailed",
    "AlivePassed",
    "ArmReady",
    "ArmRestart",
    "Draft",
    "Effect",
    "Event",
    "Exited",
    "Gone",
    "InterruptReset",
    "Lost",
    "Moment",
    "Quiet",
    "ReadyFailed",
    "ReadyPassed",
    "ReadyTimedOut",
    "Record",
    "Remove",
    "Reset",
    "RestartDue",
    "Said",
    "Spawn",
    "Start",
    "StartFailed",
    "Started",
    "Stop",
    "Survived",
    "Tell",
    "Then",
    "Watch",
    "draft_of",
    "published",
]  # fmt: skip


class Then(enum.StrEnum):
    """What follows when a STOPPING VM's tree is gone."""

    REMOVE = "remove"
    RESET = "reset"
    RESTART = "restart"
    FAIL = "fail"
    ABANDON = "stay down, as its reset was interrupted"


# Looked up once: on CPython 3.11 each look for an enum's member is a slow one.
STARTING, RUNNING, BACKOFF = VMState.STARTING, VMState.RUNNING, VMState.BACKOFF
STOPPING, EXITED, FAILED = VMState.STOPPING, VMState.EXITED, VMState.FAILED
REMOVED = VMState.REMOVED
_WANTED = (Then.REMOVE, Then.RESET)


class Start(enum.StrEnum):
    """Who asked for the present start."""

    ALLOCATE = "allocate"
    RESET = "reset"
    POLICY = "policy"


@attrs.frozen
class Moment:
    """Now: ``at`` decides (monotonic), ``wall`` is for people, ``chance`` (-1 to 1) is jitter."""

    at: float
    wall: float
    chance: float = 0.0


@attrs.define(slots=False)
class Draft:
    """Everything that decides how a VM's life goes on, while one transition is written."""

    vm_id: str
    config: VMConfig
    state: VMState
    since: float
    created_at: float
    start: Start = Start.ALLOCATE
    then: Then | None = None
    generation: int = 1
    restarts: int = 0
    pid: int | None = None
    started_at: float | None = None
    exit: Exit | None = None
    reason: str = ""
    has_tree: bool = False
    is_due: bool = False
    is_troubled: bool = False
    is_unhealthy: bool = False
    failures: int = 0
    streak: int = 0
    restarted: tuple[float, ...] = ()
    life_began: float | None = None
    failure: StartError | None = None
    words: str = ""
    cause: str = ""
    survivors: tuple[Survivor, ...] = ()
    grace: float = 0.0
    kill_at: float | None = None

    @property
    def is_healthy(self) -> bool:
        """Whether it is as it should be."""
        state = self.state
        if state is STARTING:
            return not self.is_troubled
        if state is RUNNING:
            return not self.is_unhealthy
        if state is STOPPING:
            return self.then in _WANTED and not self.survivors
        return state is EXITED or state is REMOVED


@attrs.frozen(slots=False)
class Record(Draft):
    """A draft that is written: nobody changes it any more."""


def draft_of(record: Record) -> Draft:
    """Return a copy to write on: one serves a whole transition."""
    draft = object.__new__(Draft)
    draft.__dict__ = record.__dict__.copy()
    return draft


def published(draft: Draft) -> Record:
    """Return ``draft`` itself, as a record from now on; no copy is made."""
    draft.__class__ = Record  # the same fields, frozen
    assert isinstance(draft, Record)  # noqa: S101 - for the type checker
    return draft


@attrs.frozen
class Event:
    """Something that happened, or was asked for."""


@attrs.frozen
class Started(Event):
    """Its program is executing."""

    pid: int


@attrs.frozen
class StartFailed(Event):
    """It could not be started."""

    error: StartError


@attrs.frozen
class ReadyPassed(Event):
    """Its ready probe passed."""

    words: str = ""


@attrs.frozen
class ReadyFailed(Event):
    """A try of its ready probe failed."""

    words: str = ""


@attrs.frozen
class ReadyTimedOut(Event):
    """It was not ready in time."""


@attrs.frozen
class AlivePassed(Event):
    """Its liveness probe passed."""

    words: str = ""


@attrs.frozen
class AliveFailed(Event):
    """A try of its liveness probe failed."""

    words: str = ""


@attrs.frozen
class Said(Event):
    """Its program said this of itself."""

    words: str


@attrs.frozen
class Exited(Event):
    """Its main process ended; ``tree_gone`` when nothing else of it lives."""

    code: int | None
    signal: int | None
    tree_gone: bool
    why: str = ""


@attrs.frozen
class Gone(Event):
    """Nothing of its tree lives."""


@attrs.frozen
class Survived(Event):
    """These are alive after SIGKILL."""

    survivors: tuple[Survivor, ...]


@attrs.frozen
class Lost(Event):
    """What held it was lost, and everything of it is gone."""

    why: str


@attrs.frozen
class RestartDue(Event):
    """Its back-off is over."""


@attrs.frozen
class Remove(Event):
    """Take it away for good; ``grace`` None is its policy's."""

    grace: float | None = None


@attrs.frozen
class Reset(Event):
    """Take it away and start it anew."""

    grace: float | None = None


@attrs.frozen
class InterruptReset(Event):
    """The only caller of a reset no longer waits for it."""


@attrs.frozen
class Effect:
    """Something the engine is to do."""


@attrs.frozen
class Spawn(Effect):
    """Start the program of the record's generation."""


@attrs.frozen
class Stop(Effect):
    """Take the tree away within ``grace`` seconds."""

    grace: float


@attrs.frozen
class ArmReady(Effect):
    """Tell ReadyTimedOut after so many seconds."""

    seconds: float


@attrs.frozen
class ArmRestart(Effect):
    """Tell RestartDue after so many seconds."""

    seconds: float


@attrs.frozen
class Quiet(Effect):
    """Forget both timers, and stop asking every probe."""


@attrs.frozen
class Watch(Effect):
    """Ask the probe of this role."""

    role: str


@attrs.frozen
class Tell(Effect):
    """Tell the subscribers."""

    kind: str
    detail: str = ""
