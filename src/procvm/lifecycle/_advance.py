"""The pure function over the table."""

from __future__ import annotations

import attrs

from ..config import VMConfig
from ..facts import VMState
from ._record import Effect, Event, Moment, Record, Reset, Spawn, Tell, Then
from ._steps import GUARDS, STEPS
from ._table import ROWS, Row

__all__ = ["advance", "begin", "refuses"]

_INDEX: dict[tuple[VMState, str], tuple[Row, ...]] = {}
for _row in ROWS:
    _INDEX[_row.state, _row.event] = (*_INDEX.get((_row.state, _row.event), ()), _row)


def begin(vm_id: str, config: VMConfig, now: Moment) -> tuple[Record, tuple[Effect, ...]]:
    """Return the record of a VM just allocated, and its first effects."""
    record = Record(
        vm_id, config, VMState.STARTING, since=now.wall, created_at=now.wall, reason="starting"
    )
    return record, (Tell("allocated", f"to run {config.command[0]!r}"[:200]), Spawn())


def advance(record: Record, event: Event, now: Moment) -> tuple[Record, tuple[Effect, ...]]:
    """Return what becomes of ``record``, and what is to be done; a late fact changes nothing."""
    for row in _INDEX.get((record.state, type(event).__name__), ()):
        if GUARDS[row.guard](record, event, now):
            break
    else:
        return record, ()
    effects: list[Effect] = []
    was = record.state
    for name in row.steps:
        record, more = STEPS[name](record, event, now)
        effects.extend(more)
    since = record.since if row.next is was else now.wall
    return attrs.evolve(record, state=row.next, since=since), tuple(effects)


def refuses(record: Record, event: Event) -> bool:
    """Tell whether a request is turned down: what is being removed is no longer there."""
    being_removed = record.state is VMState.STOPPING and record.then is Then.REMOVE
    return record.state is VMState.REMOVED or (being_removed and isinstance(event, Reset))
