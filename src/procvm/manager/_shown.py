"""How a manager looks in a notebook; made of snapshots, so nothing here waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..values import VMEvent, shown
from ._core import Core

if TYPE_CHECKING:
    from ..display import Timeline

__all__ = ["drawn", "html_of"]


def html_of(core: Core, title: str) -> str:
    """Return the VMs of a manager as HTML, in order of allocation; also after close."""
    from ..display import manager_html  # noqa: PLC0415 - only a notebook needs it

    vms = [shown(entry.vm) for entry in core.engine.entries.copy().values()]
    closed = " (closed)" if core.is_closed else ""
    return manager_html(title + closed, vms, core.backend.capabilities.degraded)


def drawn(core: Core, events: list[VMEvent], vm_id: str | None) -> Timeline:
    """Return the timeline of ``events``, of one VM or of all; also after close.

    The events were read before the snapshots are: what is newer than they are is shown, too.
    """
    from ._spans import timeline_of  # noqa: PLC0415 - only a notebook needs it

    vms = [entry.vm for entry in core.engine.entries.copy().values()]
    alive = [vm for vm in vms if vm_id in (None, vm.vm_id)]
    return timeline_of(events, alive, core.backend.wall())
