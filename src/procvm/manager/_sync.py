"""VMManager, the face for ordinary code."""

from __future__ import annotations

import builtins
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from ..backends import Backend, Key
from ..config import VMConfig, signal_number
from ..engine import Ticket
from ..errors import ConfigError, ProcVMError
from ..facts import LogLine, Usage
from ..values import VM, HealthReport, VMEvent
from ._closing import told
from ._core import Core, close_forgotten
from ._follow import LineIterator
from ._progress import Bar
from ._shown import Events, Lines, VMs, drawn, html_of, watched
from ._until import A_LOOK, Until, Wanted, last, plain, seconds, takes_one

if TYPE_CHECKING:
    from ..display import Timeline
    from ._watch import Watch

__all__ = ["VMManager"]


class VMManager:
    """Owns VMs: supervised process trees with a name and an identity.

    Every verb may be called from any thread. A verb that is interrupted leaves nothing half
    done. ``vm`` is a VM, a vm_id or a name. It is closed by ``close``, by its ``with`` block, at
    the end of the program, and in the background when nothing holds it any more.

    Args:
        backend: What runs the programs; None: a SubprocessBackend. One manager a backend.
    """

    def __init__(self, backend: Backend | None = None) -> None:
        self._core = Core(backend)
        self._forgotten = weakref.finalize(self, close_forgotten, self._core)
        self._forgotten.atexit = False  # at exit everything is closed in one place

    def __dir__(self) -> list[str]:
        return [
            name for name in super().__dir__() if name not in ("closed_with", "core", "signalling")
        ]

    @property
    def core(self) -> Core:
        """What both faces share; for the other face, not for users."""
        return self._core

    @property
    def backend(self) -> Backend:
        """What runs the programs."""
        return self._core.backend

    def __enter__(self) -> Self:
        self._core.check("with")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except ExceptionGroup as group:
            if error is None:
                raise
            error.add_note(f"and while closing: {group}: {'; '.join(map(str, group.exceptions))}")

    def __repr__(self) -> str:
        if self._core.is_closed:
            return "<VMManager closed>"
        count = len(self._core.engine.entries)
        closing = "closing, " if self._core.engine.is_closing else ""
        return f"<VMManager {closing}with {count} VM{'' if count == 1 else 's'}>"

    def _repr_html_(self) -> str:
        """Show its VMs in a notebook, from snapshots; it asks no process and may be closed."""
        return html_of(self._core, "VMManager")

    def __reduce__(self) -> Any:
        """Refuse to be pickled: it owns processes, and stays where they are."""
        raise TypeError("a VMManager owns processes and cannot be pickled")

    def _settled(self, ticket: Ticket) -> Any:
        __tracebackhide__ = True  # IPython and pytest show the verb, and not how it waits
        self._core.block(ticket)
        return ticket.result()

    def allocate(self, config: VMConfig | Mapping[str, Any]) -> VM:
        """Start a program and return when it runs, and is ready if it has a probe.

        When it fails, or is interrupted, nothing of it remains.

        Raises:
            ConfigError: The configuration can never work; nothing was started.
            DuplicateNameError: A VM of that name exists.
            StartError: It could not be started, ended before it was ready, was not ready in
                time, or was removed meanwhile.
        """
        vm: VM = self._settled(self._core.allocate(config))
        return vm

    def allocate_all(
        self, configs: Iterable[VMConfig | Mapping[str, Any]], *, progress: bool = False
    ) -> builtins.list[VM]:
        """Start several programs side by side, all or none, and return them in order.

        Interrupted, it ends at once, and what it has started is taken away behind it.

        Args:
            configs: What to start.
            progress: Whether to show a bar of those that are up, with tqdm.

        Raises:
            ConfigError: It is one configuration, and not several.
            ExceptionGroup: What could not be started, and why; nothing of any remains.
            ImportError: tqdm, the extra ``progress``, is not installed; nothing was started.
        """
        self._core.check_several(configs)
        tickets: builtins.list[Ticket] = []
        errors: builtins.list[Exception] = []
        with Bar(is_shown=progress) as bar:
            try:
                self._core.allocate_each(configs, tickets)
                self._draw(bar, tickets)
                for ticket in tickets:
                    self._core.block(ticket)
                    try:
                        ticket.result()
                    except ProcVMError as e:
                        errors.append(e)
            except BaseException as e:
                for ticket in tickets:
                    self._core.cancel(ticket)
                if isinstance(e, Exception):  # else it is interrupted: that is not waited for
                    self._take_back(tickets)
                if isinstance(e, ProcVMError):
                    raise ExceptionGroup("not all VMs could be started", [e]) from None
                raise
        if errors:
            self._take_back(tickets)
            raise ExceptionGroup("not all VMs could be started", errors)
        return VMs(ticket.result() for ticket in tickets)

    def _draw(self, bar: Bar, tickets: Sequence[Ticket]) -> None:
        bar.show(tickets)
        while bar.is_shown and (left := [one for one in tickets if not one.is_settled]):
            self._core.block_for_one(left)
            bar.show(tickets)

    def _take_back(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            self._core.block(ticket)  # settled, or about to be: then its VM is known
        for removal in self._core.removals(tickets):
            self._core.block(removal)

    def remove(self, vm: VM | str, *, grace: float | None = None) -> VM:
        """Take a VM away and return its last snapshot, when its whole tree is gone.

        Called while it is being removed it joins; interrupted, the removal goes on.

        Args:
            vm: Which.
            grace: Seconds to end politely; None: its StopPolicy's.

        Raises:
            VMNotFoundError: There is none.
            StopError: Something of it is alive after SIGKILL; it stays listed.
        """
        gone: VM = self._settled(self._core.request("remove", vm, seconds("grace", grace)))
        return gone

    def reset(self, vm: VM | str, *, grace: float | None = None) -> VM:
        """Take a VM's tree away and start it anew, as the next generation of the same VM.

        Interrupted, the stop goes on and the VM is FAILED, with that as its reason; when the start
        fails it is FAILED.

        Raises:
            VMNotFoundError: There is none, or it is being removed.
            StopError: Something of it is alive after SIGKILL.
            StartError: It could not be started again.
        """
        new: VM = self._settled(self._core.request("reset", vm, seconds("grace", grace)))
        return new

    def health(self) -> HealthReport:
        """Return how the VMs are, at once; it asks no process."""
        self._core.check("health")
        engine = self._core.engine
        unhealthy = tuple(engine.unhealthy.copy().values())
        degraded = self._core.backend.capabilities.degraded
        status = "bad" if unhealthy else "good"
        return HealthReport(status, len(engine.entries), unhealthy, degraded)

    def list(self) -> builtins.list[VM]:
        """Return the VMs in order of allocation, the ended ones included, at once."""
        self._core.check("list")
        return VMs([entry.vm for entry in self._core.engine.entries.copy().values()])

    def get(self, vm: VM | str) -> VM:
        """Return today's snapshot of a VM, at once.

        Raises:
            VMNotFoundError: There is none.
        """
        return self._now("get", vm)

    def _now(self, verb: str, vm: VM | str) -> VM:
        self._core.check(verb)
        name = self._core.name_of(vm)
        entries = self._core.engine.entries
        entry = entries.get(name) or entries.get(self._core.engine.names.get(name, ""))
        if entry is None:
            raise self._core.engine.not_found(name)
        return entry.vm

    def wait(self, vm: VM | str, *until: Until, timeout: float | None = None) -> VM:
        """Wait until a VM is in one of the states, or a function holds, or it has ended.

        A state passed through during the call counts. The functions are called in the
        engine's thread: they must be quick and call no verb.

        Args:
            vm: Which.
            until: States, or functions of a snapshot; none: until it has ended.
            timeout: Seconds; 0: what holds now counts; None: for ever.

        Raises:
            WaitTimeoutError: Time is up; the VM goes on.
            UnreachableStateError: It can no longer come.
            RuntimeError: Its function called a verb that waits.
            VMNotFoundError: There is none.
            ConfigError: It is no state and no function.
        """
        wanted, limit = Wanted(until), seconds("timeout", timeout)
        ticket = self._core.wait(vm, wanted)
        in_time = self._core.block(ticket, limit)
        if not in_time and not (self._core.block(ticket, A_LOOK) and ticket.is_answered):
            raise self._core.overdue(ticket.vm_id or self._core.name_of(vm), limit, wanted)
        found: VM = ticket.result()
        return found

    def signal(
        self, vm: VM | str, number: int | str, *, to: Literal["main", "tree"] = "main"
    ) -> None:
        """Send a signal, by number or name, to a VM's main process or its whole tree.

        It returns when it is sent; to a VM of which nothing runs it is silent.

        Raises:
            VMNotFoundError: There is none.
        """
        self._settled(self.signalling(vm, number, to))

    def signalling(self, vm: VM | str, number: int | str, to: str) -> Ticket:
        """Post a signal; both faces wait for its ticket."""
        self._core.check("signal")
        if to not in ("main", "tree"):
            raise ConfigError("to", to, "must be main or tree")
        sent, name = signal_number(number), self._core.name_of(vm)
        ticket = Ticket(self._core.backend, "signal")
        engine = self._core.engine
        self._core.post(ticket, lambda: engine.signal(ticket, name, sent, to))
        return ticket

    def logs(
        self,
        vm: VM | str,
        *,
        tail: int | None = None,
        stream: Literal["stdout", "stderr"] | None = None,
    ) -> builtins.list[LogLine]:
        """Return what is kept of a VM's output, also of one removed and after close.

        ``tail`` is how many of the last lines, of ``stream`` where one is named; None: all. Of
        what does not fit in ``log.keep`` the oldest is let go, so the first line may have lost its
        beginning. VMNotFoundError: there was no such VM, or a hundred were removed since.
        """
        if stream not in (None, "stdout", "stderr"):
            raise ConfigError("stream", stream, "must be stdout, stderr or None")
        count = last(tail, "lines")
        book = self._core.engine.book(self._core.name_of(vm))
        if book is None:
            raise self._core.engine.not_found(self._core.name_of(vm))
        return Lines(book[1].lines(count, stream))

    def follow(
        self, vm: VM | str, *, tail: int | None = None, timeout: float | None = None
    ) -> LineIterator:
        """Iterate over what is kept, then over what comes, until the VM has ended.

        A reader that is slower than its program misses what ``log.keep`` has no room for, and what
        is older than the previous generation: the iterator's ``lost`` counts the bytes. A line
        comes when it is whole, or its program has ended; ``logs`` shows also one that is not. In
        virtual time it moves time, and without a timeout ends also where nothing could ever
        come, the VM running or not.

        Args:
            vm: Which.
            tail: How many of the last whole lines that are kept come first; 0: the lines that
                end from this call on; None: all.
            timeout: Seconds that a step waits for a line; None: for ever.

        Raises:
            VMNotFoundError: There is none.
            WaitTimeoutError: In a step: no line came in time; the next step waits again.
        """
        return LineIterator(self, self._core, vm, tail, timeout)

    def usage(self, vm: VM | str) -> Usage:
        """Return what a VM's whole tree uses now; zeros when nothing of it lives.

        What ends meanwhile counts nothing and hurts nobody.

        Raises:
            VMNotFoundError: There is none.
        """
        now = self._now("usage", vm)
        return self._core.backend.usage(Key(now.vm_id, now.generation))

    def subscribe(self, callback: Callable[[VMEvent], None]) -> Callable[[], None]:
        """Call ``callback`` with every event to come, in order; return what undoes it.

        It runs in a thread of its own (on a fake: between steps) and may call any verb. An
        exception in it is logged, by the logger ``procvm``, with the event's kind and VM.

        Raises:
            ConfigError: It cannot be called with one argument, or is a coroutine function.
        """
        self._core.check("subscribe")
        if not callable(callback):
            raise ConfigError("callback", callback, "must be callable with an event")
        takes_one("callback", callback, "an event")
        plain("callback", callback, "async for event in manager.events() is what awaits")
        listener = self._core.backend.listen(callback, name="procvm-subscriber")
        self._core.add_listener(listener)
        return lambda: self._core.drop_listener(listener)

    def history(
        self, vm: VM | str | None = None, *, tail: int | None = None
    ) -> builtins.list[VMEvent]:
        """Return the last events, of one VM or of all; also after close.

        ``tail`` is how many of the last ones; None: all that are kept. Of all VMs together 10,000
        are kept at least; when there are too many, those VMs lose their oldest of which there are
        most.
        """
        count = last(tail, "events")
        vm_id = None if vm is None else self._core.known(vm)
        events = self._core.engine.history.events()
        told = [event for event in events if vm_id in (None, event.vm.vm_id)]
        return Events(told if count is None else told[max(0, len(told) - count) :])

    def timeline(self, vm: VM | str | None = None) -> Timeline:
        """Return the history drawn as lanes of time, of one VM or of all; also after close.

        It shows what ``history`` keeps, and is a value: call again to see what came since.
        """
        vm_id = None if vm is None else self._core.known(vm)
        return drawn(self._core, self.history(vm_id), vm_id)

    def watch(self) -> Watch:
        """Show the VMs in a notebook as a table that events keep up to date.

        It returns at once. The table is moved until the Watch is stopped, or the manager closed;
        a ``with`` block stops it at its end.

        Raises:
            ImportError: IPython is not installed.
            RuntimeError: The program runs in no notebook.
        """
        return watched(self._core, "VMManager")

    def close(self, *, grace: float | None = None) -> None:
        """Remove every VM, side by side, and end the backend; again is silent.

        Subscribers have heard of it all when it returns, unless they take seconds for it.
        Interrupted, it goes on in the background to its end; again waits for that, and a shorter
        ``grace`` hurries it.

        Raises:
            ExceptionGroup: StopErrors, for what is alive after SIGKILL.
        """
        errors = self._core.close(seconds("grace", grace))
        if self._core.is_closed:
            self._forgotten.detach()
        told(errors)
