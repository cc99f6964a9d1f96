"""One VM as the engine holds it."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from ..backends import Key, Plan, Timer, Waiter
from ..errors import ProcVMError, StartError
from ..facts import LogLine
from ..lifecycle import Record
from ..values import VM
from ._logs import LogBook
from ._tickets import Ticket

__all__ = ["Entry", "last_lines", "shared_log", "snapshot", "with_logs"]

_LAST_LINES = 20


class Entry:
    """The record of one VM, its published snapshot and who waits for it."""

    __slots__ = ("file", "followers", "key", "log", "plan", "record", "tickets", "timers", "vm")

    def __init__(self, record: Record, plan: Plan, file: str = "") -> None:
        self.record = record
        self.file = file  # its log's, links resolved; empty where it has none
        self.key = Key(record.vm_id, record.generation)  # the present incarnation
        self.plan = plan
        self.vm: VM = snapshot(record)
        self.log = LogBook(record.config.log.keep)
        self.tickets: list[Ticket] = []
        self.timers: list[Timer] = []
        self.followers: list[Waiter] = []

    def wake_followers(self) -> None:
        """Wake everybody who waits for output."""
        for waiter in self.followers:
            waiter.set()
        self.followers.clear()


def snapshot(record: Record) -> VM:
    """Return what users are told of ``record``."""
    return VM(
        record.vm_id, record.config.name, record.state, record.since, record.pid,
        record.generation, record.restarts, record.created_at, record.started_at, record.exit,
        record.is_healthy, record.reason, record.config,
    )  # fmt: skip


def shared_log(entry: Entry, entries: Iterable[Entry]) -> str:
    """Return whose log is in the same file, in words; empty where it is nobody's else."""
    others = [repr(e.vm.name) for e in entries if e.file == entry.file and e is not entry]
    who = ", ".join(others[:3])
    words = f"the log {entry.file!r} is that of {who} too: they are mixed, and each rotates it"
    return words if others else ""


def last_lines(log: LogBook, generation: int) -> tuple[LogLine, ...]:
    """Return the last lines of one life: an earlier one's would tell of what is past."""
    return tuple(line for line in log.lines(_LAST_LINES) if line.generation == generation)


def with_logs(error: ProcVMError, entry: Entry) -> ProcVMError:
    """Return a start's error with what the program wrote last, and where it ran."""
    if not isinstance(error, StartError):
        return error
    told = attrs.evolve(
        error,
        logs=last_lines(entry.log, entry.record.generation),
        directory=entry.plan.directory or error.directory,
    )
    told.__cause__ = error.__cause__
    return told
