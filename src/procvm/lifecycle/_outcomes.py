"""What a waiting verb is told, as a function of the record alone."""

from __future__ import annotations

import attrs

from ..errors import ProcVMError, StartInterruptedError, StopError, VMNotFoundError
from ._record import BACKOFF, EXITED, FAILED, REMOVED, RUNNING, STOPPING, Record, Then

__all__ = ["outcome"]

_UP = (RUNNING, EXITED, FAILED, BACKOFF)


def outcome(verb: str, record: Record) -> ProcVMError | bool:
    """Return True when ``verb`` has succeeded, its error, or False to go on waiting."""
    name, vm_id = record.config.name, record.vm_id
    if record.state is STOPPING and record.survivors:
        return StopError(vm_id, name, record.survivors)
    if verb == "remove":
        return record.state is REMOVED
    if record.state is REMOVED:
        if verb == "reset":
            return VMNotFoundError(name)
        if record.failure is not None:
            return record.failure
        why = "it was removed, closed or interrupted before its start was complete"
        return StartInterruptedError(why, name, vm_id, record.config.command, record.config.path)
    if verb == "reset" and record.state is STOPPING and record.then is Then.REMOVE:
        return VMNotFoundError(name)
    if record.state in _UP:
        if record.failure is not None and record.state in (FAILED, BACKOFF):
            return attrs.evolve(record.failure)
        return True
    return False
