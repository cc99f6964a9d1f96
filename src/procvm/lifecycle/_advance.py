"""The pure function over the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..config import VMConfig
from ..facts import VMState
from ._record import (
    REMOVED,
    STARTING,
    STOPPING,
    Event,
    Moment,
    Record,
    Reset,
    Spawn,
    Tell,
    Then,
    draft_of,
    published,
)  # fmt: skip
from ._steps import GUARDS, STEPS, Effects, Step
from ._table import ROWS

__all__ = ["advance", "begin", "refuses"]

Guard = Callable[[Record, Any, Moment], bool]

# The table's rows with their guards and steps looked up, by state and event.
_INDEX: dict[tuple[VMState, str], list[tuple[Guard, tuple[Step, ...], VMState]]] = {}
for _row in ROWS:
    _INDEX.setdefault((_row.state, _row.event), []).append(
        (GUARDS[_row.guard], tuple(STEPS[name] for name in _row.steps), _row.next)
    )


def begin(vm_id: str, config: VMConfig, now: Moment) -> tuple[Record, Effects]:
    """Return the record of a VM just allocated, and its first effects."""
    record = Record(
        vm_id, config, STARTING, since=now.wall, created_at=now.wall, reason="starting"
    )
    return record, (Tell("allocated", f"to run {config.command[0]!r}"[:200]), Spawn())


def advance(record: Record, event: Event, now: Moment) -> tuple[Record, Effects]:
    """Return what becomes of ``record``, and what is to be done; a late fact changes nothing."""
    for guard, steps, following in _INDEX.get((record.state, type(event).__name__), ()):
        if guard(record, event, now):
            return _taken(record, event, now, steps, following)
    return record, ()


def _taken(
    record: Record, event: Event, now: Moment, steps: tuple[Step, ...], following: VMState
) -> tuple[Record, Effects]:
    effects: Effects = ()
    draft = draft_of(record)
    for step in steps:
        effects += step(draft, event, now)
    if following is not draft.state:
        draft.state, draft.since = following, now.wall
    return published(draft), effects


def refuses(record: Record, event: Event) -> bool:
    """Tell whether a request is turned down: what is being removed is no longer there."""
    being_removed = record.state is STOPPING and record.then is Then.REMOVE
    return record.state is REMOVED or (being_removed and isinstance(event, Reset))
