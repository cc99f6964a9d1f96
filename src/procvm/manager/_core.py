"""What both faces share: who owns the engine, and when it is closed."""

from __future__ import annotations

import atexit
import inspect
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from ..backends import Backend, Listener, Plan
from ..config import VMConfig
from ..engine import Engine, Ticket
from ..errors import (
    ConfigError,
    DuplicateNameError,
    ForkedManagerError,
    ManagerClosedError,
    StartError,
    StopError,
    UnreachableStateError,
    VMNotFoundError,
    WaitTimeoutError,
)  # fmt: skip
from ..lifecycle import Remove, Reset
from ..values import VM
from ._closing import Closing

__all__ = ["Core", "on_open", "open_cores"]

_log = logging.getLogger("procvm")
_WAITING = frozenset({"allocate", "remove", "reset", "wait", "signal"})


class Core:
    """One engine and the commands that may be given to it, each a ticket to wait for."""

    def __init__(self, backend: Backend | None) -> None:
        if backend is None:
            from ..backends.subprocess import SubprocessBackend  # noqa: PLC0415 - the fake needs none of it

            backend = SubprocessBackend()
        if not isinstance(backend, Backend):
            raise ConfigError("backend", backend, "must be a Backend, FakeBackend() say")
        self.backend = backend
        self.engine = Engine(backend)
        self.owner = os.getpid()
        self.closing = Closing(self.engine, backend, lambda: _open.discard(self))
        self._listening = threading.RLock()  # as a signal's handler may subscribe on top
        self.title = "VMManager"  # what its face is called
        self.forgotten: tuple[VM, ...] = ()  # what ran when nothing held the manager any more
        _open.add(self)
        for told in _witnesses.copy():
            told(self)

    def check(self, verb: str) -> None:
        """Raise when this process or this moment may not use the manager."""
        if os.getpid() != self.owner:
            raise ForkedManagerError(self.owner)
        if self.is_closed or self.engine.is_closing:
            raise ManagerClosedError(verb)
        if verb in _WAITING:
            self._check_thread(verb)

    def _check_thread(self, verb: str) -> None:
        """Refuse what would wait in the engine's own thread, for what that thread is to do."""
        if self.backend.is_loop:
            raise RuntimeError(
                f"{verb}: a function given to wait runs in the engine's thread and may call no "
                "verb that waits: call it afterwards, or from a subscriber"
            )

    def name_of(self, vm: Any) -> str:
        """Return the vm_id or name that ``vm`` stands for."""
        if isinstance(vm, VM):
            if self.engine.book(vm.vm_id) is None:
                raise VMNotFoundError(vm.vm_id, stranger=vm.name)
            return vm.vm_id
        if isinstance(vm, str):
            return vm
        way = "give a VM, its vm_id or its name"
        if inspect.isawaitable(vm):
            way = "await it first"
        elif isinstance(vm, (list, tuple, set)):
            way = "give one VM after the other"
        elif isinstance(vm, VMConfig):
            way = "give its name, or the VM that allocate returned"
        kind = type(vm).__name__  # and not what is in it, which may be a secret
        raise VMNotFoundError(f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}", way=way)

    def known(self, vm: Any) -> str:
        """Return the vm_id of a VM whose history is asked for, also of one removed long ago."""
        name = vm.vm_id if isinstance(vm, VM) else self.name_of(vm)
        book = self.engine.book(name)
        found = book[0] if book else self.engine.history.removed(name)
        if found is not None:
            return found.vm_id
        self.name_of(vm)  # raises what is known of a stranger
        raise self.engine.not_found(name)

    def allocate(self, config: VMConfig | Mapping[str, Any]) -> Ticket:
        """Look, then post the start."""
        made, plan = self._looked_at(config)
        ticket, file = Ticket(self.backend, "allocate"), _log_file(plan)
        try:
            self.post(ticket, lambda: self.engine.allocate(ticket, made, plan, file))
        except StartError as e:  # no loop could be had
            raise attrs.evolve(e, name=made.name, argv=made.command) from e.__cause__
        return ticket

    def post(self, ticket: Ticket, call: Callable[[], None]) -> None:
        """Post what is to settle ``ticket``; should it fail by itself, the caller is told."""

        def perform() -> None:
            try:
                call()
            except Exception as e:
                ticket.fail(e)
                raise

        self.backend.post(perform)

    def _looked_at(self, config: VMConfig | Mapping[str, Any]) -> tuple[VMConfig, Plan]:
        self.check("allocate")
        if not isinstance(config, VMConfig):
            if not isinstance(config, (dict, Mapping)):  # in this order: an ABC is slow
                raise ConfigError(
                    "config",
                    f"<{type(config).__name__}>",
                    'must be a VMConfig or a mapping of its fields: VMConfig("web", "sleep 60")',
                )
            from ..config import config_from  # noqa: PLC0415 - cattrs is for mappings alone

            config = config_from(config)
        if config.name in self.engine.names:
            raise self.engine.taken(config.name)
        return config, self.backend.resolve(config, os.getcwd())  # noqa: PTH109 - text is what is kept

    def check_several(self, configs: object) -> None:
        """Refuse one configuration where several are to be."""
        if isinstance(configs, (VMConfig, Mapping, str)) or not isinstance(configs, Iterable):
            kind = f"<{type(configs).__name__}>"  # and not what is in it, which may be a secret
            raise ConfigError("configs", kind, "must be several, in a list: allocate takes one")

    def allocate_each(
        self, configs: Iterable[VMConfig | Mapping[str, Any]], tickets: list[Ticket]
    ) -> None:
        """Post the starts, a ticket each; after a failure the others are looked at alone.

        Raises:
            ExceptionGroup: Those that can never start, all of them.
        """
        errors: list[Exception] = []
        several = list(configs)
        names = [_name_in(config) for config in several]
        first = {name: number for number, name in reversed([*enumerate(names)]) if name}
        is_hopeless = len(first) < len(names)
        for number, config in enumerate(several):
            name = names[number]
            try:
                if first.get(name, number) < number:
                    raise DuplicateNameError(name, is_twice=True)  # noqa: TRY301 - as the others
                if errors or is_hopeless:
                    self._looked_at(config)
                else:
                    tickets.append(self.allocate(config))
            except (ConfigError, DuplicateNameError, StartError) as e:
                if isinstance(e, ConfigError) or getattr(e, "is_twice", False):  # others name it
                    e.add_note(f"in configs[{number}]" + (f", the VM {name!r}" if name else ""))
                errors.append(e)
        if errors:
            raise ExceptionGroup("not all VMs could be started", errors)

    def request(self, verb: str, vm: Any, grace: float | None) -> Ticket:
        """Post a removal or a reset."""
        self.check(verb)
        name = self.name_of(vm)
        event = Remove(grace) if verb == "remove" else Reset(grace)
        ticket = Ticket(self.backend, verb)
        self.post(ticket, lambda: self.engine.request(ticket, name, event))
        return ticket

    def wait(self, vm: Any, wants: Callable[[VM], bool]) -> Ticket:
        """Post a wait."""
        self.check("wait")
        name = self.name_of(vm)
        ticket = Ticket(self.backend, "wait")
        ticket.wants = wants
        self.post(ticket, lambda: self.engine.wait(ticket, name))
        return ticket

    def overdue(self, vm_id: str, limit: float | None, wanted: object) -> WaitTimeoutError:
        """Say that a wait took too long, and for what."""
        vm_id, name, state = self._where(vm_id)
        error = WaitTimeoutError(vm_id, name, limit or 0.0, state, str(wanted))
        for hint in self.backend.hints(name):
            error.add_note(hint)
        return error

    def _where(self, vm_id: str) -> tuple[str, str, str]:
        """Return what an error says of a VM: its identity, name and state."""
        book = self.engine.book(vm_id)
        return (vm_id, book[0].name, book[0].state.value) if book else (vm_id, "", "unknown")

    def cancel(self, ticket: Ticket) -> None:
        """Post that nobody waits for it any more."""
        ticket.is_taken_back = ticket.verb == "allocate"
        self.backend.post(lambda: self.engine.cancel(ticket))

    def add_listener(self, listener: Listener) -> None:
        """Let it hear every event to come; any thread."""
        self.check("subscribe")
        with self._listening:
            self.engine.listeners = [*self.engine.listeners, listener]
        if self.is_closed:  # meanwhile, so perhaps without it
            listener.stop()

    def drop_listener(self, listener: Listener) -> None:
        """Let it hear no more; any thread, again is silent."""
        listener.stop()
        with self._listening:
            was = kept = None
            while was is not self.engine.listeners or kept is None:  # a handler changed them
                was = self.engine.listeners
                kept = [one for one in was if one is not listener]
            self.engine.listeners = kept

    def block(self, ticket: Ticket, timeout: float | None = None) -> bool:
        """Block until the ticket is settled; an interrupted or timed-out command is taken back."""
        __tracebackhide__ = True
        try:
            settled = self.backend.block(ticket.waiter, timeout)
        except RuntimeError as e:
            self.cancel(ticket)
            raise UnreachableStateError(*self._where(ticket.vm_id), str(e)) from e
        except BaseException:
            self.cancel(ticket)
            raise
        if not settled:
            if os.getpid() != self.owner:  # forked in a handler, on top of this wait
                raise ForkedManagerError(self.owner)
            self.cancel(ticket)
        return settled

    def block_for_one(self, tickets: Sequence[Ticket]) -> None:
        """Block until one of several tickets is settled."""
        __tracebackhide__ = True
        waiter, first = self.backend.waiter(), threading.Lock()

        def wake() -> None:  # in the loop or here: whoever has the lock is the first
            if first.acquire(blocking=False):
                waiter.set()

        for ticket in tickets:
            ticket.on_settled(wake)
        try:
            self.backend.block(waiter, None)
        except RuntimeError:  # nothing could ever come, in virtual time: told of the first
            self.block(tickets[0])

    def removals(self, tickets: Iterable[Ticket]) -> list[Ticket]:
        """Post the removal of what settled starts have made; a close does it by itself."""
        try:
            return [self.request("remove", t.vm_id, None) for t in tickets if t.vm_id]
        except ManagerClosedError:
            return []

    @property
    def is_closed(self) -> bool:
        """Whether every VM is gone, and no verb works any more."""
        return self.closing.is_closed

    def close(self, grace: float | None) -> list[StopError]:
        """Remove everything and end the backend; return what could not be stopped."""
        if os.getpid() != self.owner or (self.is_closed and self.backend.is_loop):
            return []
        if not self.is_closed:
            self._check_thread("close")
        return self.closing.close(grace)

    def abandon(self) -> None:
        """Give up what does not answer: nobody waits for its backend any more, nor at exit."""
        self.closing.give_up()


def _log_file(plan: Plan) -> str:
    """Return where a log is written, links resolved; empty where none is."""
    file = plan.config.log.file
    return "" if file is None else os.path.realpath(os.path.join(plan.base, file))  # noqa: PTH118 - text in, text out


def _name_in(config: object) -> str:
    """Return the name in a configuration, of either kind; empty where it has none."""
    if isinstance(config, VMConfig):
        return config.name
    name = config.get("name") if isinstance(config, Mapping) else None
    return name if isinstance(name, str) else ""


_open: set[Core] = set()
_witnesses: list[Callable[[Core], None]] = []


def open_cores() -> list[Core]:
    """Return what every open manager of this process is made of."""
    pid = os.getpid()
    return [core for core in _open.copy() if core.owner == pid and not core.is_closed]


def on_open(call: Callable[[Core], None]) -> Callable[[], None]:
    """Call ``call`` with the core of every manager to come; return what undoes it."""
    _witnesses.append(call)
    return lambda: _witnesses.remove(call) if call in _witnesses else None


def _close_all() -> None:
    """Close at the end of the interpreter whatever is still open; starts no thread."""
    for core in list(_open):
        try:
            core.closing.is_last = True
            core.close(None)
        except KeyboardInterrupt:  # whoever interrupts the end wants it now
            is_killed = core.backend.capabilities.host_death
            what = "killed" if is_killed else "left behind: no guard can run here"
            _log.warning("interrupted while closing: what still runs is %s", what)
            return
        except Exception:  # noqa: BLE001 - the others are to be closed as well
            _log.exception("a manager could not be closed at the end of the interpreter")


atexit.register(_close_all)


def close_forgotten(core: Core) -> None:
    """Close a manager that nobody holds any more."""
    if core.is_closed or core.owner != os.getpid() or core.closing.goes_on:
        return
    one = f"an {core.title}" if core.title.startswith("A") else f"a {core.title}"
    if core.backend.capabilities.containment != "virtual":
        core.forgotten = tuple(entry.vm for entry in core.engine.entries.copy().values())
    if names := ", ".join(repr(vm.name) for vm in core.forgotten):  # no warning: few see those
        way = "with" if core.title == "VMManager" else "async with"
        _log.warning(
            "%s was forgotten without close(), so its VMs are taken away: %s; keep it in "
            "a variable, or use %s", one, names[:200], way,
        )  # fmt: skip
    threading.Thread(target=core.close, args=(None,), name="procvm-forgotten", daemon=True).start()
    warnings.warn(f"{one} was forgotten without close()", ResourceWarning, stacklevel=2)
