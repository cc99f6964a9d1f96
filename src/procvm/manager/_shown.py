"""How a manager looks in a notebook; made of snapshots, so nothing here waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, SupportsIndex, TypeVar, overload

from ..facts import LogLine, plain
from ..values import VM, VMEvent, shown, told
from ._core import Core

if TYPE_CHECKING:
    from ..display import Timeline
    from ._watch import Watch

__all__ = ["Events", "Lines", "VMs", "drawn", "html_of", "rows_of", "title_of", "watched"]


T = TypeVar("T")


class Shown(list[T]):
    """A list like any other, that a notebook shows as one table, and a slice of it as well."""

    __slots__ = ()

    @overload
    def __getitem__(self, at: SupportsIndex, /) -> T: ...

    @overload
    def __getitem__(self, at: slice, /) -> Self: ...

    def __getitem__(self, at: SupportsIndex | slice, /) -> T | Self:
        found: Any = super().__getitem__(at)
        return type(self)(found) if isinstance(at, slice) else found

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002, FBT001 - IPython's
        """Show it in IPython's terminal: a line each."""
        printer.text(self._as_text() if self else "[]")

    def _as_text(self) -> str:
        from ..display import MOST_ROWS, legal  # noqa: PLC0415 - only IPython needs it

        left = len(self) - MOST_ROWS
        lines = [f"... and {left} before these"] if left > 0 else []
        return "\n".join([*lines, *(legal(self._in_words(one)) for one in self[-MOST_ROWS:])])

    def _in_words(self, item: T) -> str:
        return str(item)


class VMs(Shown[VM]):
    """VMs that a notebook shows as one table."""

    __slots__ = ()

    def _as_text(self) -> str:
        from ..display import vms_text  # noqa: PLC0415 - only IPython needs it

        return vms_text([shown(vm) for vm in self])

    def _repr_html_(self) -> str:
        from ..display import MOST_ROWS, vms_html  # noqa: PLC0415 - only a notebook needs it

        return vms_html([shown(vm) for vm in self[:MOST_ROWS]], total=len(self))


class Events(Shown[VMEvent]):
    """The same for events."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from ..display import MOST_ROWS, events_html  # noqa: PLC0415 - only a notebook needs it

        return events_html([told(event) for event in self[-MOST_ROWS:]], len(self))


class Lines(Shown[LogLine]):
    """The same for lines of output, without their colours."""

    __slots__ = ()

    def _in_words(self, item: LogLine) -> str:
        return item.shown

    def _repr_html_(self) -> str:
        from ..display import MOST_ROWS, logs_html  # noqa: PLC0415 - only a notebook needs it

        return logs_html([plain(line) for line in self[-MOST_ROWS:]], len(self))


def rows_of(core: Core) -> list[dict[str, Any]]:
    """Return a manager's VMs as plain rows, in order of allocation; also after close."""
    return [shown(entry.vm) for entry in core.engine.entries.copy().values()]


def title_of(core: Core, title: str) -> str:
    """Return what a manager is called."""
    if core.is_closed:
        return f"{title} (closed)"
    return f"{title} (closing)" if core.engine.is_closing else title


def html_of(core: Core, title: str) -> str:
    """Return the VMs of a manager as HTML; also after close."""
    from ..display import manager_html  # noqa: PLC0415 - only a notebook needs it

    degraded = core.backend.capabilities.degraded
    return manager_html(title_of(core, title), rows_of(core), degraded)


def drawn(core: Core, events: list[VMEvent], vm_id: str | None) -> Timeline:
    """Return the timeline of ``events``, of one VM or of all; also after close.

    The events were read before the snapshots are: what is newer than they are is shown, too.
    """
    from ._spans import timeline_of  # noqa: PLC0415 - only a notebook needs it

    vms = [entry.vm for entry in core.engine.entries.copy().values()]
    alive = [vm for vm in vms if vm_id in (None, vm.vm_id)]
    return timeline_of(events, alive, core.backend.wall(), core.engine.history.dropped(vm_id))


def watched(core: Core, title: str) -> Watch:
    """Return a live table of a manager's VMs."""
    from ._watch import Watch  # noqa: PLC0415 - only a notebook needs it

    core.check("watch")
    return Watch(core, title)
