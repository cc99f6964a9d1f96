"""How a manager looks in a notebook; made of snapshots, so nothing here waits."""

from __future__ import annotations

from ..values import shown
from ._core import Core

__all__ = ["html_of"]


def html_of(core: Core, title: str) -> str:
    """Return the VMs of a manager as HTML, in order of allocation; also after close."""
    from ..display import manager_html  # noqa: PLC0415 - only a notebook needs it

    vms = [shown(entry.vm) for entry in core.engine.entries.copy().values()]
    closed = " (closed)" if core.is_closed else ""
    return manager_html(title + closed, vms, core.backend.capabilities.degraded)
