"""What happened lately: bounded, and shared fairly between the VMs."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable

from ..values import VM, VMEvent

__all__ = ["History", "note"]

_log = logging.getLogger("procvm")
_KEPT = 10_000


class History:
    """The last events, 10,000 at least; written by the loop, read by any thread.

    When there are twice as many, those VMs lose their oldest of which there are most: one that
    crashes all day does not drive out what the others did.
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept, self._most = kept, 2 * kept
        self._events: list[VMEvent] = []
        self._dropped: dict[str, int] = {}
        self._removed: dict[str, VM] = {}  # by vm_id and by name, while it has events here
        self._gone = 0

    def add(self, event: VMEvent) -> None:
        """Keep an event."""
        events = self._events
        events.append(event)
        if event.kind == "removed":
            self._removed[event.vm.vm_id] = self._removed[event.vm.name] = event.vm
        if len(events) >= self._most:
            self._thin_out()

    def events(self) -> list[VMEvent]:
        """Return what is kept, in order; a copy."""
        return self._events.copy()

    def dropped(self, vm_id: str | None = None) -> int:
        """Return how many events are not kept any more, of one VM that has some, or of all."""
        if vm_id is None:
            return self._gone
        return self._dropped.get(vm_id, 0)

    def removed(self, vm: str) -> VM | None:
        """Return a VM that was removed and has events here, by vm_id or name: the last such."""
        return self._removed.get(vm)

    def _thin_out(self) -> None:
        counts = Counter(event.vm.vm_id for event in self._events)
        share = max(1, _share(counts.values(), self._kept))
        spare = {vm_id: count - share for vm_id, count in counts.items() if count > share}
        room = self._kept - sum(counts.values()) + sum(spare.values())
        for vm_id in list(spare)[: max(0, room)]:  # what the division has left over
            spare[vm_id] -= 1
        kept = []
        for event in self._events:
            vm_id = event.vm.vm_id
            if spare.get(vm_id, 0) > 0:
                spare[vm_id] -= 1
            else:
                kept.append(event)
        kept = kept[-self._kept :]  # of more VMs than that
        left = Counter(event.vm.vm_id for event in kept)
        self._dropped = {
            vm_id: self._dropped.get(vm_id, 0) + counts[vm_id] - left[vm_id] for vm_id in left
        }
        self._gone += len(self._events) - len(kept)
        self._events = kept
        gone = [event.vm for event in kept if event.kind == "removed"]
        self._removed = {key: vm for vm in gone for key in (vm.vm_id, vm.name)}


def note(event: VMEvent) -> None:
    """Tell the logger ``procvm``; a filter of the host's that raises is no reason to stop."""
    if _log.isEnabledFor(logging.INFO):
        with contextlib.suppress(Exception):
            _log.info(
                "%s: %s %s", event.kind, event.vm.name, event.detail,
                extra={"vm_id": event.vm.vm_id, "vm_name": event.vm.name, "kind": event.kind},
            )  # fmt: skip


def _share(counts: Iterable[int], most: int) -> int:
    """Return how many each may keep, so that all together keep ``most``."""
    left, waiting = most, sorted(counts, reverse=True)
    while waiting and waiting[-1] * len(waiting) <= left:
        left -= waiting.pop()
    return left // len(waiting) if waiting else most
