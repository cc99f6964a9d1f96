"""AsyncVMManager, the same verbs awaited: a second face of the same engine."""

from __future__ import annotations

import asyncio
import builtins
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from ..backends import Backend
from ..config import VMConfig
from ..engine import Ticket
from ..errors import ConfigError, ProcVMError
from ..facts import LogLine, Usage
from ..values import VM, HealthReport, VMEvent
from ._awaiting import LoopWaiter, hearing
from ._closing import told
from ._events import EventIterator
from ._follow import AsyncLineIterator
from ._progress import Bar
from ._shown import VMs, html_of, watched
from ._sync import VMManager
from ._until import A_LOOK, Until, Wanted, seconds

if TYPE_CHECKING:
    from ..display import Timeline
    from ._watch import Watch

__all__ = ["AsyncVMManager"]


class AsyncVMManager:
    """Owns VMs, with coroutines for verbs; see VMManager, whose verbs these are.

    Several loops in several threads may share one. A cancelled allocation leaves nothing.

    Args:
        backend: What runs the programs; None: a SubprocessBackend. One manager a backend.
    """

    def __init__(self, backend: Backend | None = None) -> None:
        self._share(VMManager(backend))
        self._core.title = "AsyncVMManager"

    def _share(self, face: VMManager) -> None:
        self._face, self._core = face, face.core
        self._is_virtual = self._core.backend.capabilities.containment == "virtual"

    @staticmethod
    def of(manager: VMManager) -> AsyncVMManager:
        """Return the awaited face of a manager: the same VMs, and what closes one closes both.

        Raises:
            ConfigError: It is no VMManager.
        """
        if not isinstance(manager, VMManager):
            raise ConfigError("manager", manager, "must be a VMManager")
        made = AsyncVMManager.__new__(AsyncVMManager)
        made._share(manager)  # noqa: SLF001 - of its own class
        return made

    @property
    def backend(self) -> Backend:
        """What runs the programs."""
        return self._core.backend

    async def __aenter__(self) -> Self:
        self._core.check("async with")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.close()
        except ExceptionGroup as group:
            if error is None:
                raise
            error.add_note(f"and while closing: {group}: {'; '.join(map(str, group.exceptions))}")

    def __repr__(self) -> str:
        return repr(self._face).replace("VMManager", "AsyncVMManager", 1)

    def _repr_html_(self) -> str:
        """Show its VMs in a notebook, from snapshots; it asks no process and may be closed."""
        return html_of(self._core, "AsyncVMManager")

    async def _wait_for(self, ticket: Ticket, timeout: float | None = None) -> bool:
        __tracebackhide__ = True
        if self._is_virtual:  # virtual time is moved here and never blocks
            return self._core.block(ticket, timeout)
        waiter = LoopWaiter()
        ticket.on_settled(waiter.set)
        try:
            settled = await waiter.wait(timeout)
        except BaseException:
            self._core.cancel(ticket)
            raise
        if not settled:
            self._core.cancel(ticket)
        return settled

    async def _settled(self, ticket: Ticket) -> Any:
        __tracebackhide__ = True  # IPython and pytest show the verb, and not how it waits
        await self._wait_for(ticket)
        return ticket.result()

    async def allocate(self, config: VMConfig | Mapping[str, Any]) -> VM:
        """Start a program and return when it runs, and is ready if it has a probe."""
        vm: VM = await self._settled(self._core.allocate(config))
        return vm

    async def allocate_all(
        self, configs: Iterable[VMConfig | Mapping[str, Any]], *, progress: bool = False
    ) -> builtins.list[VM]:
        """Start several programs side by side, all or none, and return them in order."""
        if self._is_virtual:
            return self._face.allocate_all(configs, progress=progress)
        self._core.check_several(configs)
        tickets: builtins.list[Ticket] = []
        errors: builtins.list[Exception] = []
        with Bar(is_shown=progress) as bar:
            try:
                self._core.allocate_each(configs, tickets)
                await self._draw(bar, tickets)
                for ticket in tickets:
                    try:
                        await self._settled(ticket)
                    except ProcVMError as e:
                        errors.append(e)
            except BaseException as e:
                for ticket in tickets:
                    self._core.cancel(ticket)
                if isinstance(e, Exception):  # else it is cancelled: that is not waited for
                    await self._take_back(tickets)
                if isinstance(e, ProcVMError):
                    raise ExceptionGroup("not all VMs could be started", [e]) from None
                raise
        if errors:
            await self._take_back(tickets)
            raise ExceptionGroup("not all VMs could be started", errors)
        return VMs(ticket.result() for ticket in tickets)

    async def _draw(self, bar: Bar, tickets: Sequence[Ticket]) -> None:
        bar.show(tickets)
        while bar.is_shown and (left := [one for one in tickets if not one.is_settled]):
            waiter = LoopWaiter()
            for ticket in left:
                ticket.on_settled(waiter.set)
            await waiter.wait()
            bar.show(tickets)

    async def _take_back(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            await self._wait_for(ticket)  # settled, or about to be: then its VM is known
        for removal in self._core.removals(tickets):
            await self._wait_for(removal)

    async def remove(self, vm: VM | str, *, grace: float | None = None) -> VM:
        """Take a VM away and return its last snapshot, when its whole tree is gone."""
        gone: VM = await self._settled(self._core.request("remove", vm, seconds("grace", grace)))
        return gone

    async def reset(self, vm: VM | str, *, grace: float | None = None) -> VM:
        """Take a VM's tree away and start it anew, as the next generation of the same VM."""
        new: VM = await self._settled(self._core.request("reset", vm, seconds("grace", grace)))
        return new

    async def health(self) -> HealthReport:
        """Return how the VMs are, at once; it asks no process."""
        return self._face.health()

    async def list(self) -> builtins.list[VM]:
        """Return the VMs in order of allocation, the ended ones included, at once."""
        return self._face.list()

    async def get(self, vm: VM | str) -> VM:
        """Return today's snapshot of a VM, at once."""
        return self._face.get(vm)

    async def wait(self, vm: VM | str, *until: Until, timeout: float | None = None) -> VM:
        """Wait until a VM is in one of the states, or a function holds, or it has ended."""
        wanted, limit = Wanted(until), seconds("timeout", timeout)
        ticket = self._core.wait(vm, wanted)
        in_time = await self._wait_for(ticket, limit)
        if not in_time and not (await self._wait_for(ticket, A_LOOK) and ticket.is_answered):
            raise self._core.overdue(ticket.vm_id or self._core.name_of(vm), limit, wanted)
        found: VM = ticket.result()
        return found

    async def signal(
        self, vm: VM | str, number: int | str, *, to: Literal["main", "tree"] = "main"
    ) -> None:
        """Send a signal, by number or name, to a VM's main process or its whole tree."""
        await self._settled(self._face.signalling(vm, number, to))

    async def logs(
        self,
        vm: VM | str,
        *,
        tail: int | None = None,
        stream: Literal["stdout", "stderr"] | None = None,
    ) -> builtins.list[LogLine]:
        """Return what is kept of a VM's output, also of one removed and after close."""
        return self._face.logs(vm, tail=tail, stream=stream)

    def follow(
        self, vm: VM | str, *, tail: int | None = None, timeout: float | None = None
    ) -> AsyncLineIterator:
        """Iterate over what is kept, then over what comes, until the VM has ended."""
        return AsyncLineIterator(self, self._core, vm, tail, timeout)

    async def usage(self, vm: VM | str) -> Usage:
        """Return what a VM's whole tree uses now; zeros when nothing of it lives."""
        with hearing():
            return await asyncio.to_thread(self._face.usage, vm)

    def subscribe(self, callback: Callable[[VMEvent], None]) -> Callable[[], None]:
        """Call ``callback`` with every event to come, in order; return what undoes it."""
        return self._face.subscribe(callback)

    def events(self) -> EventIterator:
        """Iterate over every event from this call on, until the iterator or the manager is closed.

        It is heard from the call, not from the first step. ``await events.aclose()`` ends it; one
        that is forgotten ends by itself.
        """
        return EventIterator(self._core)

    async def history(
        self, vm: VM | str | None = None, *, tail: int | None = None
    ) -> builtins.list[VMEvent]:
        """Return the last events, of one VM or of all; also after close."""
        return self._face.history(vm, tail=tail)

    async def timeline(self, vm: VM | str | None = None) -> Timeline:
        """Return the history drawn as lanes of time, of one VM or of all; also after close."""
        return self._face.timeline(vm)

    def watch(self) -> Watch:
        """Show the VMs in a notebook as a table that events keep up to date."""
        return watched(self._core, "AsyncVMManager")

    async def close(self, *, grace: float | None = None) -> None:
        """Remove every VM, side by side, and end the backend; again is silent."""
        if self._is_virtual:
            self._face.close(grace=grace)
            return
        limit, waiter, core = seconds("grace", grace), LoopWaiter(), self._core
        if os.getpid() == core.owner and not core.closing.is_over:
            core.closing.behind(limit, waiter.set)  # it goes on when this is cancelled
            try:
                await waiter.wait()
            except BaseException:
                core.closing.tell_who_is_left(limit)
                raise
        told(core.closing.untold())


def _tell_in_full() -> None:
    """Give each verb the rest of what VMManager says of it: units, errors, when it returns."""
    for name, verb in vars(VMManager).items():
        mine = vars(AsyncVMManager).get(name)
        if name[0] != "_" and inspect.isfunction(mine):
            first, rest = mine.__doc__ or "", (verb.__doc__ or "").partition("\n")[2]
            if rest and "\n" not in first:
                mine.__doc__ = f"{first}\n{rest}"


_tell_in_full()
