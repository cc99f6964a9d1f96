"""The one writer: feeds facts and requests to the rules and performs their effects."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

from .._near import near_names
from ..backends import Backend, Key, Listener, Plan
from ..config import VMConfig
from ..errors import (
    DuplicateNameError,
    ManagerClosedError,
    ProcVMError,
    StartError,
    UnreachableStateError,
    VMNotFoundError,
)  # fmt: skip
from ..facts import Survivor
from ..lifecycle import (
    AliveFailed,
    AlivePassed,
    ArmReady,
    ArmRestart,
    Effect,
    Event,
    Exited,
    Gone,
    InterruptReset,
    Lost,
    Moment,
    Quiet,
    ReadyFailed,
    ReadyPassed,
    ReadyTimedOut,
    Remove,
    Reset,
    RestartDue,
    Said,
    Spawn,
    Started,
    StartFailed,
    Stop,
    Survived,
    Tell,
    Then,
    Watch,
    advance,
    begin,
    is_final,
    outcome,
    refuses,
)  # fmt: skip
from ..values import VM, VMEvent
from ._entry import Entry, last_lines, shared_log, snapshot, with_logs
from ._history import History, note
from ._logs import LogBook
from ._tickets import Ticket

__all__ = ["Engine"]

_REMEMBERED = 100


class Engine:
    """Owns the records, timers and history of one backend's VMs.

    Everything but the reads runs in the backend's loop; reads look at published snapshots.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.entries: dict[str, Entry] = {}
        self.names: dict[str, str] = {}
        self.unhealthy: dict[str, VM] = {}
        self.removed: OrderedDict[str, tuple[VM, LogBook]] = OrderedDict()
        self.history = History()
        self.listeners: list[Listener] = []
        self.is_closing = False
        backend.open(self)

    # --- requests, in the loop -------------------------------------------------------

    def allocate(self, ticket: Ticket, config: VMConfig, plan: Plan, file: str = "") -> None:
        """Reserve the name and start; the ticket is settled when it is up, or back down.

        ``file`` is where its log is written, links resolved.
        """
        if ticket.is_settled:
            return
        if self.is_closing:
            ticket.fail(ManagerClosedError("allocate"))
            return
        if config.name in self.names:
            ticket.fail(self.taken(config.name))
            return
        now = self._now(config)
        record, effects = begin(self.backend.new_id(), config, now)
        entry = Entry(record, plan, file)
        entry.tickets.append(ticket)
        ticket.vm_id = record.vm_id
        self.entries[record.vm_id] = entry
        self.names[config.name] = record.vm_id
        self._perform(entry, effects, now)
        if words := file and shared_log(entry, self.entries.values()):
            self.warned(entry.key, words)

    def request(self, ticket: Ticket, vm: str, event: Event) -> None:
        """Remove or reset; joins what is in progress."""
        if ticket.is_settled:
            return
        entry = self._find(vm)
        if entry is None or refuses(entry.record, event):
            ticket.fail(ManagerClosedError(ticket.verb) if self.is_closing else self.not_found(vm))
            return
        if self.is_closing and isinstance(event, Reset):
            ticket.fail(ManagerClosedError(ticket.verb))
            return
        ticket.vm_id = entry.record.vm_id
        entry.tickets.append(ticket)
        self._advance(entry, event)

    def wait(self, ticket: Ticket, vm: str) -> None:
        """Settle the ticket when its ``wants`` holds, fail it when that can no longer come."""
        entry = self._find(vm)
        if entry is not None:
            ticket.vm_id = entry.record.vm_id
            entry.tickets.append(ticket)
            self._answer(entry, ticket)
            return
        gone = self._find_removed(vm)
        if gone is None:
            ticket.fail(self.not_found(vm))
        else:
            self._answer_wait(ticket, *gone, is_last=True)

    def cancel(self, ticket: Ticket) -> None:
        """Take an interrupted command back: an allocation wholly, a reset at its stop."""
        entry = self.entries.get(ticket.vm_id)
        ticket.settle()
        if entry is None:
            return
        if ticket in entry.tickets:
            entry.tickets.remove(ticket)
        if ticket.verb == "allocate":
            self._advance(entry, Remove())
        elif ticket.verb == "reset" and not any(t.verb == "reset" for t in entry.tickets):
            self._advance(entry, InterruptReset())

    def close(self, tickets: list[Ticket], grace: float | None) -> None:
        """Remove everything, side by side; one ticket for each VM is added to ``tickets``."""
        self.is_closing = True
        for entry in list(self.entries.values()):
            ticket = Ticket(self.backend, "remove")
            ticket.vm_id = entry.record.vm_id
            tickets.append(ticket)
            entry.tickets.append(ticket)
            self._advance(entry, Remove(grace))

    def signal(self, ticket: Ticket, vm: str, number: int, to: str) -> None:
        """Send a signal to what is executing; to nothing it is silent."""
        entry = self._find(vm)
        if entry is None:
            ticket.fail(self.not_found(vm))
            return
        if entry.record.has_tree:
            self.backend.signal(entry.key, number, to=to)
        ticket.settle()

    # --- facts, in the loop: the backend's sink ---------------------------------------

    def started(self, key: Key, pid: int) -> None:
        """See Sink."""
        self._fact(key, Started(pid))

    def start_failed(self, key: Key, error: StartError) -> None:
        """See Sink."""
        self._fact(key, StartFailed(error))

    def output(self, key: Key, stream: str, data: bytes) -> None:
        """See Sink."""
        entry = self.entries.get(key.vm_id)
        if entry is not None:
            entry.log.add(key.generation, stream, self.backend.wall(), data)
            entry.wake_followers()

    def exited(
        self, key: Key, code: int | None, signal: int | None, *, tree_gone: bool, why: str = ""
    ) -> None:
        """See Sink."""
        self._fact(key, Exited(code, signal, tree_gone, why))

    def gone(self, key: Key) -> None:
        """See Sink."""
        self._fact(key, Gone())

    def survived(self, key: Key, survivors: tuple[Survivor, ...]) -> None:
        """See Sink."""
        self._fact(key, Survived(survivors))

    def lost(self, key: Key, why: str) -> None:
        """See Sink."""
        self._fact(key, Lost(why))

    def probed(self, key: Key, role: str, *, passed: bool, words: str) -> None:
        """See Sink."""
        kinds: dict[tuple[str, bool], Callable[[str], Event]] = {
            ("ready", True): ReadyPassed,
            ("ready", False): ReadyFailed,
            ("alive", True): AlivePassed,
            ("alive", False): AliveFailed,
        }
        self._fact(key, kinds[role, passed](words))

    def said(self, key: Key, words: str) -> None:
        """See Sink."""
        self._fact(key, Said(words))

    def warned(self, key: Key, words: str) -> None:
        """See Sink."""
        entry = self.entries.get(key.vm_id)
        if entry is not None:
            self._tell(VMEvent("warning", entry.vm, self.backend.wall(), words))

    # --- the middle --------------------------------------------------------------------

    def _now(self, config: VMConfig) -> Moment:
        backend = self.backend  # chance is for delays of restarts alone
        chance = 0.0 if config.restart.when == "never" else backend.chance()
        return Moment(backend.monotonic(), backend.wall(), chance)

    def _find(self, vm: str) -> Entry | None:
        return self.entries.get(vm) or self.entries.get(self.names.get(vm, ""))

    def _find_removed(self, vm: str) -> tuple[VM, LogBook] | None:
        found = self.removed.get(vm)
        if found is None:
            named = [pair for pair in self.removed.copy().values() if pair[0].name == vm]
            found = named[-1] if named else None
        return found

    def _fact(self, key: Key, event: Event) -> None:
        entry = self.entries.get(key.vm_id)
        if entry is not None and entry.record.generation == key.generation:
            self._advance(entry, event)

    def _advance(self, entry: Entry, event: Event) -> None:
        was = entry.record
        now = self._now(was.config)
        entry.record, effects = advance(was, event, now)
        if entry.record is not was:
            if entry.record.generation != was.generation:
                self.backend.release(entry.key)
                entry.key = Key(was.vm_id, entry.record.generation)
            self._publish(entry)
        self._perform(entry, effects, now)
        for ticket in tuple(entry.tickets):
            self._answer(entry, ticket)
        if entry.followers and is_final(entry.record.state):
            entry.wake_followers()

    def _publish(self, entry: Entry) -> None:
        vm = entry.vm = snapshot(entry.record)
        if vm.state == "removed":
            self.removed[vm.vm_id] = (vm, entry.log)  # first: a reader finds it here or there
            self.entries.pop(vm.vm_id, None)
            self.names.pop(vm.name, None)
            self.unhealthy.pop(vm.vm_id, None)
            while len(self.removed) > _REMEMBERED:
                self.removed.popitem(last=False)
            self.backend.release(entry.key)
        elif vm.healthy:
            self.unhealthy.pop(vm.vm_id, None)
        else:
            self.unhealthy[vm.vm_id] = vm

    def _perform(self, entry: Entry, effects: tuple[Effect, ...], now: Moment) -> None:
        for effect in effects:
            if isinstance(effect, Tell):
                self._tell(VMEvent(effect.kind, entry.vm, now.wall, effect.detail))
            else:
                self._acts[type(effect)](self, entry, effect)

    def _stop(self, entry: Entry, effect: Stop) -> None:
        self.backend.stop(entry.key, grace=effect.grace)

    def _watch(self, entry: Entry, effect: Watch) -> None:
        config = entry.record.config
        probe = config.ready if effect.role == "ready" else config.alive
        if probe is not None:
            self.backend.watch(entry.key, effect.role, probe)

    def _quiet(self, entry: Entry, _: Quiet) -> None:
        if entry.timers:
            for timer in entry.timers:
                timer.cancel()
            entry.timers.clear()
        config = entry.record.config
        if config.ready is not None:
            self.backend.unwatch(entry.key, "ready")
        if config.alive is not None:
            self.backend.unwatch(entry.key, "alive")

    def _arm_ready(self, entry: Entry, effect: ArmReady) -> None:
        self._arm(entry, effect.seconds, ReadyTimedOut())

    def _arm_restart(self, entry: Entry, effect: ArmRestart) -> None:
        self._arm(entry, effect.seconds, RestartDue())

    def _arm(self, entry: Entry, seconds: float, event: Event) -> None:
        key = entry.key
        entry.timers.append(self.backend.call_later(seconds, lambda: self._fact(key, event)))

    def _spawn(self, entry: Entry, _: Spawn) -> None:
        key = entry.key
        try:
            if key.generation > 1:
                entry.plan = self.backend.renew(entry.plan)
            self.backend.spawn(key, entry.plan)
        except Exception as e:  # noqa: BLE001 - whatever a backend raises, the caller is answered
            why = str(e) if isinstance(e, ProcVMError) else f"{type(e).__name__}: {e}"
            error = e if isinstance(e, StartError) else StartError(why, entry.record.config.name)
            error.__cause__ = error.__cause__ or (e if error is not e else None)
            self.backend.post(lambda: self.start_failed(key, error))

    def _tell(self, event: VMEvent) -> None:
        self.history.add(event)
        for listener in self.listeners:
            listener.put(event)
        self.backend.wake_callers()  # a handler of the host's log may be slow
        note(event)

    _acts: ClassVar[dict[type[Effect], Callable[[Engine, Entry, Any], None]]] = {
        Spawn: _spawn, Stop: _stop, Watch: _watch, Quiet: _quiet,
        ArmReady: _arm_ready, ArmRestart: _arm_restart,
    }  # fmt: skip

    # --- answers -----------------------------------------------------------------------

    def _answer(self, entry: Entry, ticket: Ticket) -> None:
        if ticket.wants is not None:
            is_last = is_final(entry.record.state)
            self._answer_wait(ticket, entry.vm, entry.log, is_last=is_last)
        elif not (answer := outcome(ticket.verb, entry.record)):
            return
        elif answer is True:
            ticket.settle(entry.vm)
        else:
            ticket.fail(with_logs(answer, entry))
        if ticket.is_settled and ticket in entry.tickets:
            entry.tickets.remove(ticket)

    def _answer_wait(self, ticket: Ticket, vm: VM, log: LogBook, *, is_last: bool) -> None:
        assert ticket.wants is not None  # noqa: S101 - only waits come here
        self.backend.wake_callers()
        try:
            if ticket.wants(vm):
                ticket.settle(vm)
            elif is_last:
                where = vm.vm_id, vm.name, vm.state.value, vm.reason
                logs = last_lines(log, vm.generation)
                ticket.fail(UnreachableStateError(*where, vm.exit, logs))
        except BaseException as e:  # noqa: BLE001 - the caller's own predicate failed: it is told so
            ticket.fail(e)

    # --- any thread --------------------------------------------------------------------

    def book(self, vm: str) -> tuple[VM, LogBook] | None:
        """Return a VM's last snapshot and its log, also of one removed."""
        entry = self._find(vm)
        return (entry.vm, entry.log) if entry is not None else self._find_removed(vm)

    def not_found(self, vm: str) -> VMNotFoundError:
        """Make the error for what is no longer there, is about to go, or never was."""
        if self._find(vm) is not None:
            return VMNotFoundError(vm, is_leaving=True)
        gone = self._find_removed(vm)
        was = gone[0] if gone else self.history.removed(vm)
        if was is not None:
            return VMNotFoundError(vm, was.name)
        return VMNotFoundError(vm, near=near_names(vm, self.names.copy()))

    def taken(self, name: str) -> DuplicateNameError:
        """Make the error for a name that a VM has."""
        entry = self._find(name)
        is_leaving = entry is not None and (
            entry.record.then is Then.REMOVE or any(t.is_taken_back for t in entry.tickets.copy())
        )
        return DuplicateNameError(name, is_leaving)

    def follow(self, vm_id: str, waiter: Any, number: int) -> None:
        """Loop: set ``waiter`` when there is output after ``number``, or none will come."""
        entry = self.entries.get(vm_id)
        if entry is None or entry.log.last_number > number or is_final(entry.record.state):
            waiter.set()
        else:
            entry.followers.append(waiter)
