"""SubprocessBackend: real processes, their output, their probes."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from ..._probe import Probe
from ...config import VMConfig
from ...errors import ConfigError, StartError
from ...facts import Survivor, Usage
from ...probes import Command, Notify
from .._stack import ensure_room
from ..base import Backend, Capabilities, Key, Listener, Plan, Sink, Timer, Waiter
from ._choice import holder_for
from ._environment import environment_of
from ._errors import translated
from ._holds import Holder
from ._ids import identities
from ._launch import uid_of
from ._lease import LoopLease, forget_in_child
from ._listener import ThreadListener
from ._logfile import LogFile
from ._pipe import Pipes
from ._resolve import renewed, resolve
from ._routes import Routes
from ._running import Running, RunningTrees
from ._usage import UsageMeter
from ._waiter import BellWaiter
from .probing import Commands, NotifySocket, Strangers, Watcher, leaves_of, try_once

__all__ = ["SubprocessBackend"]

_LONGEST_TRY = 86400.0  # a socket's timeout of years would overflow a C time
_live: weakref.WeakSet[SubprocessBackend] = weakref.WeakSet()


class SubprocessBackend(Backend):
    """Runs real processes.

    Args:
        containment: ``'tree'`` or ``'group'``; None: the strongest that works here.

    Raises:
        ConfigError: Another word, or a containment that is not to be had here.
    """

    def __init__(self, containment: Literal["tree", "group"] | None = None) -> None:
        if containment not in (None, "tree", "group"):
            raise ConfigError("containment", containment, "must be tree or group")
        self._reactor = LoopLease()
        self._commands = Commands(self._reactor, self.held_survived)
        routes = Routes(self, self._commands)
        self._holder: Holder = holder_for(containment, self._reactor, routes)
        self._commands.holder = self._holder
        self._sink: Sink | None = None
        self._running: dict[Key, Running] = {}
        self._meter = UsageMeter()
        self._ids = identities()
        self._chance = random.Random()  # noqa: S311 - jitter is no secret
        self._is_closed = self._is_emptied = self._is_over = False
        _live.add(self)

    def __repr__(self) -> str:
        return f"<SubprocessBackend with containment {self._holder.containment!r}>"

    def __dir__(self) -> list[str]:
        """Name what is for users: the rest is between it and its holder."""
        return [
            one for one in super().__dir__() if one[0] == "_" or one not in vars(type(self))
        ] + ["capabilities"]

    @property
    def capabilities(self) -> Capabilities:
        """What holds here."""
        holder = self._holder
        return Capabilities(holder.containment, holder.host_death, tuple(holder.degraded))

    def open(self, sink: Sink) -> None:
        """See Backend."""
        if self._sink is not None:
            raise ConfigError(
                "backend",
                type(self).__name__,
                "has a manager already: give each a backend of its own",
            )
        self._sink = sink

    def prepare(self) -> None:
        """See Backend."""
        self._reactor.post(self._prepare)
        self._reactor.run(lambda: None)  # it is done by then

    def _prepare(self) -> None:
        if not self._is_closed:
            self._reactor.readers.prepare()
            self._holder.prepare()

    @property
    def sink(self) -> Sink:
        """Whom everything is told."""
        assert self._sink is not None  # noqa: S101 - an engine opened it before it asked
        return self._sink

    def post(self, call: Callable[[], None]) -> None:
        """See Backend."""
        self._reactor.post(call)

    @property
    def is_loop(self) -> bool:
        """See Backend."""
        return self._reactor.is_current

    def waiter(self) -> Waiter:
        """See Backend."""
        ensure_room()
        return self._reactor.waiter()

    def block(self, waiter: Waiter, timeout: float | None) -> bool:
        """See Backend."""
        __tracebackhide__ = True
        assert isinstance(waiter, BellWaiter)  # noqa: S101 - made just above
        return waiter.wait(timeout)

    def wake_callers(self) -> None:
        """See Backend."""
        self._reactor.wake_callers()

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        """See Backend."""
        return self._reactor.call_later(delay, call)

    def monotonic(self) -> float:
        """See Backend."""
        return time.monotonic()

    def wall(self) -> float:
        """See Backend."""
        return time.time()

    def new_id(self) -> str:
        """See Backend."""
        return next(self._ids)

    def chance(self) -> float:
        """See Backend."""
        return self._chance.uniform(-1.0, 1.0)

    def listen(self, callback: Callable[[Any], None], *, name: str) -> Listener:
        """See Backend."""
        return ThreadListener(callback, name)

    def resolve(self, config: VMConfig, base: str) -> Plan:
        """See Backend."""
        self._holder.alert()  # it wakes up while the program is looked at
        return resolve(config, base)

    def renew(self, plan: Plan) -> Plan:
        """See Backend."""
        return renewed(plan)

    def spawn(self, key: Key, plan: Plan) -> None:
        """See Backend."""
        warn = partial(self._warned, key)
        file = LogFile(plan, warn) if plan.config.log.file is not None else None
        pipes = Pipes(self._reactor, partial(self._got, key), file, warn)
        running = self._running[key] = Running(plan, pipes, file)
        ready = plan.config.ready
        more: dict[str, str] = {}
        if ready is not None and any(isinstance(p, Notify) for p in leaves_of(ready)):
            try:
                running.notify = NotifySocket(self._reactor)
            except OSError as e:  # no descriptor is left
                self._drop(key)
                error = translated(e, plan, "ready")
                self._reactor.post(lambda: self.sink.start_failed(key, error))
                return
            more = {"NOTIFY_SOCKET": running.notify.address}
        if ready is not None:
            self._watcher(key, running, "ready", ready)
        self._holder.spawn(key, plan, environment_of(plan.config, more))

    def _watcher(self, key: Key, running: Running, role: str, probe: Probe) -> Watcher:
        def answer(passed: bool, words: str) -> None:  # noqa: FBT001 - an answer
            if running.watchers.get(role) is watcher:
                self.sink.probed(key, role, passed=passed, words=words)

        leaves = tuple(leaves_of(probe)) if role == "ready" else ()
        trees = RunningTrees(key, self._running, self._holder)
        strangers = Strangers(leaves, running.plan, trees)

        def ask(one: Probe, seconds: float, stopped: threading.Event) -> tuple[bool, str]:
            seconds = min(seconds, _LONGEST_TRY)
            if isinstance(one, Command):
                return self._commands.ask(key, running.plan, one.argv, seconds, stopped)
            return strangers.judged(one, try_once(one, running.plan, seconds))

        watcher = Watcher(self._reactor, probe, role, answer, ask, running.notify)
        running.watchers[role] = watcher
        return watcher

    def _listen_to(self, key: Key, running: Running) -> None:
        """Hear what the program says of itself, from now on: before, its tree was unknown."""
        notify, user = running.notify, uid_of(running.plan)

        def accepts(pid: int, uid: int) -> bool:
            """Hear the VM's own tree, and of the dead those who ran as its user.

            A one-shot child (systemd-notify) is often dead when its message is read, and nothing
            tells whose it was. Only its tree is told this name, and its user may do worse to it.
            """
            verdict = self._holder.owns(key, pid)
            return uid == user if verdict is None else verdict

        def ready() -> None:
            watcher = running.watchers.get("ready")
            if watcher is not None:
                watcher.consider()

        if notify is not None and self._running.get(key) is running:
            notify.open(accepts, ready, lambda words: self.sink.said(key, words))

    # --- what the holder tells --------------------------------------------------------

    def held_started(self, key: Key, pid: int, stdout: int, stderr: int) -> None:
        """See Holding."""
        running = self._running[key]
        running.pid = pid
        running.pipes.open(stdout, stderr)
        self.sink.started(key, pid)  # first: whoever waits for it may go on meanwhile
        if self._running.get(key) is running:
            running.pipes.watch()
            self._listen_to(key, running)

    def held_failed(self, key: Key, error: StartError) -> None:
        """See Holding."""
        self._drop(key)
        self.sink.start_failed(key, error)

    def held_exited(
        self, key: Key, code: int | None, signal: int | None, *, tree_gone: bool, why: str = ""
    ) -> None:
        """See Holding."""
        self._when_drained(key, lambda: self._exited(key, code, signal, tree_gone, why))

    def _exited(
        self, key: Key, code: int | None, signal: int | None, tree_gone: bool, why: str  # noqa: FBT001 - as told
    ) -> None:  # fmt: skip
        if tree_gone and self._commands.stop_all(key, lambda: self._gone(key)):
            tree_gone = False  # its probes' commands are still to go
        self.sink.exited(key, code, signal, tree_gone=tree_gone, why=why)
        if tree_gone:
            self._drop(key)

    def held_gone(self, key: Key) -> None:
        """See Holding."""
        if not self._commands.stop_all(key, lambda: self._gone(key)):
            self._gone(key)

    def _gone(self, key: Key) -> None:
        self._when_drained(key, lambda: self._tell_last(key, partial(self.sink.gone, key)))

    def _tell_last(self, key: Key, tell: Callable[[], None]) -> None:
        tell()
        self._drop(key)

    def held_survived(self, key: Key, survivors: tuple[Survivor, ...]) -> None:
        """See Holding."""
        self.sink.survived(key, survivors)

    def held_lost(self, key: Key, why: str) -> None:
        """See Holding."""
        self._when_drained(key, lambda: self._tell_last(key, partial(self.sink.lost, key, why)))

    # --- output -----------------------------------------------------------------------

    def _got(self, key: Key, stream: str, data: bytes) -> None:
        running = self._running[key]
        self.sink.output(key, stream, data)
        for watcher in tuple(running.watchers.values()):
            watcher.saw(stream, data)

    def _warned(self, key: Key, words: str) -> None:
        """Any thread: tell it in the loop."""
        self._reactor.post(lambda: self.sink.warned(key, words))

    def _when_drained(self, key: Key, then: Callable[[], None]) -> None:
        """Tell what comes after the output when all that was written until now is told."""
        running = self._running.get(key)
        if running is None:
            then()
        else:
            running.pipes.drain(then)

    def _drop(self, key: Key) -> None:
        running = self._running.pop(key, None)
        if running is None:
            return
        running.pipes.close()
        for watcher in running.watchers.values():
            watcher.stop()
        self._commands.stop_all(key)
        if running.notify is not None:
            running.notify.close()
        if running.file is not None:
            self._reactor.readers.do(running.file.close)

    # --- the rest of the contract -----------------------------------------------------

    def stop(self, key: Key, *, grace: float) -> None:
        """See Backend."""
        self._holder.stop(key, grace=grace)

    def signal(self, key: Key, number: int, *, to: str) -> None:
        """See Backend."""
        self._holder.signal(key, number, to=to)

    def watch(self, key: Key, role: str, probe: Probe) -> None:
        """See Backend."""
        running = self._running.get(key)
        if running is not None:
            watcher = running.watchers.get(role) or self._watcher(key, running, role, probe)
            watcher.start()

    def unwatch(self, key: Key, role: str) -> None:
        """See Backend."""
        running = self._running.get(key)
        watcher = running.watchers.pop(role, None) if running is not None else None
        if watcher is not None:
            watcher.stop()
            self._commands.stop_all(key)

    def usage(self, key: Key) -> Usage:
        """See Backend."""
        return self._meter.read(key, self._holder.pids(key))

    def release(self, key: Key) -> None:
        """See Backend."""
        self._drop(key)
        self._meter.forget(key)
        self._holder.release(key)

    def close(self) -> None:
        """See Backend."""
        if self._is_over:
            return
        self._is_closed = True
        self._reactor.run(self._close_everything)
        self._reactor.close()
        self._is_over = True  # at the end: after an interrupt it is called again

    def _close_everything(self) -> None:
        if self._is_emptied:
            return
        self._is_emptied = True
        for key in tuple(self._running):
            self._drop(key)
        self._commands.close()
        self._holder.close()

    def forget(self) -> None:
        """In a forked child: close its copies of what is the parent's."""
        self._is_closed = self._is_over = True
        for running in self._running.values():
            running.pipes.forget()
            if running.notify is not None:
                running.notify.forget()
            if running.file is not None:
                running.file.forget()
        self._commands.forget()
        self._holder.forget()


def _forget_all() -> None:
    for backend in tuple(_live):
        with contextlib.suppress(OSError):  # the next one all the same
            backend.forget()
    forget_in_child()


os.register_at_fork(after_in_child=_forget_all)
