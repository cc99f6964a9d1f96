"""One VM as the engine holds it."""

from __future__ import annotations

from ..backends import Key, Plan, Timer, Waiter
from ..lifecycle import Record
from ..values import VM
from ._logs import LogBook
from ._tickets import Ticket

__all__ = ["Entry", "snapshot"]


class Entry:
    """The record of one VM, its published snapshot and who waits for it."""

    __slots__ = ("followers", "key", "log", "plan", "record", "tickets", "timers", "vm")

    def __init__(self, record: Record, plan: Plan) -> None:
        self.record = record
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
