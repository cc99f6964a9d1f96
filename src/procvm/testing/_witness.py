"""Sees every manager of this process, and what one that was closed has left."""

from __future__ import annotations

from collections.abc import Iterable

from ..backends.subprocess import Member, marked, put_down
from ..errors import ManagerClosedError
from ..facts import Survivor
from ..manager import on_open, open_cores
from ..values import VM

__all__ = ["Witness"]


class Witness:
    """Sees the VMs of the open managers, and the processes of those closed since it began.

    Managers in virtual time have no process that could be left, and are not looked at.
    """

    def __init__(self) -> None:
        self._seen = open_cores()
        self._undo = on_open(self._seen.append)

    def close(self) -> None:
        """See no more."""
        self._undo()
        self._seen.clear()

    def prepare(self) -> None:
        """Start what the open managers need besides their VMs, and keep until they are closed."""
        for core in open_cores():
            core.backend.prepare()

    def vms(self) -> list[VM]:
        """Return the VMs of the open managers, the ended ones included."""
        return [vm for _, vms in self.managers().values() for vm in vms]

    def managers(self) -> dict[int, tuple[str, list[VM]]]:
        """Return the open managers: what each is called, and its VMs."""
        return {
            id(core): (core.title, [entry.vm for entry in core.engine.entries.copy().values()])
            for core in open_cores()
            if core.backend.capabilities.containment != "virtual"
        }

    def remove(self, vms: Iterable[VM]) -> None:
        """Take VMs away, whichever manager they belong to, and wait for it."""
        wanted = {vm.vm_id for vm in vms}
        tickets = []
        for core in open_cores():
            for vm_id in wanted & core.engine.entries.copy().keys():
                try:
                    tickets.append((core, core.request("remove", vm_id, None)))
                except ManagerClosedError:  # a manager that was forgotten closes by itself
                    core.close(None)
        for core, ticket in tickets:
            core.block(ticket)

    def forgotten(self) -> list[VM]:
        """Return what ran in managers that were forgotten without close, as it was then."""
        return [vm for core in self._seen for vm in core.forgotten]

    def strays(self) -> list[Member]:
        """Return what lives of VMs that nobody manages any more."""
        vm_ids = {event.vm.vm_id for core in self._seen for event in core.engine.history.events()}
        managed = {vm_id for core in open_cores() for vm_id in core.engine.entries.copy()}
        return marked(vm_ids - managed) if vm_ids - managed else []

    def leftovers(self) -> list[Survivor]:
        """Kill what lives of VMs that nobody manages any more, name it, and forget them."""
        left = self.strays() if any(core.is_closed for core in self._seen) else []
        self._seen[:] = [core for core in self._seen if not core.is_closed]
        for member in left:
            put_down(member)
        return [Survivor(member.pid, member.command) for member in left]
