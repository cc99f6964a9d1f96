"""What a waiting verb is told, as a function of the record alone."""

from __future__ import annotations

import attrs

from ..errors import ProcVMError, StartInterruptedError, StopError, VMNotFoundError
from ._record import BACKOFF, EXITED, FAILED, REMOVED, RUNNING, STOPPING, Record, Then

__all__ = ["outcome"]

_UP = (RUNNING, EXITED, FAILED, BACKOFF)


def outcome(verb: str, record: Record) -> ProcVMError | bool:
    """Return True when ``verb`` has succeeded, its error, or False to go on waiting."""
    state, config = record.state, record.config
    if state is STOPPING and record.survivors:
        return StopError(record.vm_id, config.name, record.survivors)
    if verb == "remove":
        return state is REMOVED
    if state is REMOVED:
        if verb == "reset":
            return VMNotFoundError(config.name)
        if record.failure is not None:
            return record.failure
        why = "it was removed, closed or interrupted before its start was complete"
        where = config.name, record.vm_id, config.command, config.path
        return StartInterruptedError(why, *where)
    if verb == "reset" and state is STOPPING and record.then is Then.REMOVE:
        return VMNotFoundError(config.name)
    if state in _UP:
        if record.failure is not None and state in (FAILED, BACKOFF):
            return attrs.evolve(record.failure)
        return True
    return False
