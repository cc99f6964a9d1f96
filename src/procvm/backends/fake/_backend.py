"""FakeBackend: scripted programs in virtual time, without processes and threads."""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from ..._near import near_names
from ..._probe import Probe
from ...config import VMConfig, signal_number
from ...errors import ConfigError, VMNotFoundError
from ...facts import Usage
from .._complaints import Complaints
from .._stack import ensure_room
from ..base import Backend, Capabilities, Key, Listener, Plan, Sink, Waiter
from ._clock import Clock, FakeTimer
from ._process import FakeProcess
from ._program import FakeProgram, checked_code
from ._scripts import Scripts

__all__ = ["FakeBackend"]

_log = logging.getLogger("procvm")
_MOST_AT_ONE_MOMENT = 1_000_000
_MOST_IN_A_WAIT = 1_000_000
_MOST_MOMENTS = 100_000  # a day of a probe's seconds; and for each VM
_MOMENTS_OF_ONE = 10
_MOST_STARTS = 10_000
_FIRST_PID = 2**22 + 1  # above the kernel's limit: a stray os.kill hits nobody
_EPOCH = 1_700_000_000.0
_LONGEST_QUEUE = 10_000


class _Flag:
    """A waiter that virtual time looks at."""

    __slots__ = ("_is_set",)

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set


class _Queue:
    """A subscriber, called between steps."""

    def __init__(self, callback: Callable[[Any], None]) -> None:
        self._callback: Callable[[Any], None] | None = callback
        self._items: deque[Any] = deque()
        self.lost = 0
        self._complaints = Complaints()

    def put(self, item: Any) -> None:
        if len(self._items) >= _LONGEST_QUEUE:
            self.lost += 1
        elif self._callback is not None:
            self._items.append(item)

    def stop(self) -> None:
        self._callback = None
        self._items.clear()

    def join(self, timeout: float) -> None:
        """Wait for nothing: it has delivered between steps."""

    def deliver(self) -> None:
        while self._items and self._callback is not None:
            item = self._items.popleft()
            try:
                self._callback(item)
            except Exception as e:  # noqa: BLE001 - one subscriber's failure is its own
                self._complaints.tell(item, e)


class FakeBackend(Backend):
    """Plays scripted programs in virtual time: same rules, same seed, same history.

    A blocking verb moves time forward by itself; ``advance`` moves it by hand.

    Args:
        seed: What chance and identities are drawn from.
    """

    def __init__(self, seed: int = 0) -> None:
        if not isinstance(seed, (int, float, str, bytes)):
            raise ConfigError("seed", seed, "must be a number; scripts are given by program()")
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._clock = Clock()
        self._sink: Sink | None = None
        self._scripts = Scripts()
        self._processes: dict[Key, FakeProcess] = {}
        self._names: dict[str, Key] = {}
        self._queues: list[_Queue] = []
        self._calls: deque[Callable[[], None]] = deque()
        self._lock = threading.RLock()
        self._busy: int | None = None  # the thread that runs what was posted
        self._is_delivering = False
        self._pid = _FIRST_PID
        self._moment: float | None = None
        self._steps = 0
        self._starts: dict[str, int] = {}  # again, at one moment
        self._starts_at = 0.0
        self._is_storm = False

    def __repr__(self) -> str:
        return f"<FakeBackend at {self.now:g} s of virtual time>"

    @property
    def capabilities(self) -> Capabilities:
        """What holds here."""
        return Capabilities("virtual")

    @property
    def now(self) -> float:
        """Seconds of virtual time since the start."""
        return self._clock.now

    def program(self, name: str, *programs: FakeProgram) -> None:
        """Script the lives of the VM called ``name``, one a generation, the last one repeated.

        A VM without a script, while one of nearly its name is nobody's, is told in the log.

        ConfigError: No VM can have this name, or what follows is no FakeProgram.
        """
        if not isinstance(name, str):
            raise ConfigError("name", name, "must be the name of a VM, as text")
        VMConfig(name, "any")  # which refuses what can be no VM's name
        if not programs:
            raise ConfigError("programs", programs, "name at least one FakeProgram")
        given: tuple[Any, ...] = programs
        for program in given:
            if not isinstance(program, FakeProgram):
                why = "must be a FakeProgram; several are given one after the other"
                raise ConfigError("programs", program, why)
        self._scripts.add(name, programs, is_there=name in self._names)

    def hints(self, name: str | None = None) -> list[str]:
        """See Backend: scripts that are missing, misspelt, late or without an end."""
        with self._lock:  # others may start and remove VMs meanwhile
            lives: list[tuple[str, int, FakeProgram | None]] = [
                (one, key.generation, self._processes[key].program)
                for one, key in self._names.items()
                if key in self._processes and name in (None, one)
            ]
        if name is not None and not lives:
            lives = [(name, 1, None)]
        return self._scripts.doubts(lives)

    def advance(self, seconds: float) -> None:
        """Move time forward by ``seconds``, and let happen what is due.

        Raises:
            ConfigError: It is no number of seconds.
            RuntimeError: A million things happen at one moment, and so without end.
        """
        is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        if not is_number or not 0 <= seconds < float("inf"):
            raise ConfigError("seconds", seconds, "must be a finite number of seconds, at least 0")
        with self._lock:
            self._warn_of_slips()
            end = self._clock.now + seconds
            while (at := self._clock.next_at()) is not None and at <= end:
                self._step(at)
            self._clock.now = max(self._clock.now, end)

    def crash(self, vm: Any, code: int | None = 1, *, signal: int | str | None = None) -> None:
        """Let the main process of ``vm`` (a VM, its vm_id or name) end now.

        Silent where nothing runs at the moment, as a signal is: after its end, or in BACKOFF.

        Raises:
            VMNotFoundError: There is no such VM.
            ConfigError: It is no exit code, or no signal.
        """
        if signal is not None and code not in (None, 1):
            raise ConfigError("signal", signal, f"ends it by no code, and code={code} is given")
        if signal is not None:
            code, signal = None, signal_number(signal)
        elif code is not None:
            checked_code("code", code)
        wanted = getattr(vm, "vm_id", vm)
        keys = [key for key in self._processes if key.vm_id == wanted]
        key = max(keys) if keys else self._names.get(wanted)
        process = self._processes.get(key) if key is not None else None
        if process is None:
            near = near_names(str(wanted), self._names.copy())
            raise VMNotFoundError(str(wanted), near=near)
        self.post(lambda: process.end(code, signal))

    def open(self, sink: Sink) -> None:
        """See Backend."""
        if self._sink is not None:
            raise ConfigError(
                "backend",
                type(self).__name__,
                "has a manager already: give each a backend of its own",
            )
        self._sink = sink

    def post(self, call: Callable[[], None]) -> None:
        """See Backend."""
        with self._lock:
            self._calls.append(call)
            if self._busy is None:
                self._run()

    @property
    def is_loop(self) -> bool:
        """See Backend."""
        return self._busy == threading.get_ident()

    def _run(self) -> None:
        """Run what was posted, then deliver; a callback's own posts run at once."""
        self._busy = threading.get_ident()
        try:
            while self._calls:
                self._calls.popleft()()
        finally:
            self._busy = None
        if self._queues and not self._is_delivering:
            self._is_delivering = True
            try:
                for queue in tuple(self._queues):
                    queue.deliver()
            finally:
                self._is_delivering = False

    def _step(self, moment: float) -> None:
        """Let happen what comes next, at ``moment``; the caller holds the lock."""
        self._steps = self._steps + 1 if moment == self._moment else 0
        self._moment = moment
        if self._steps > _MOST_AT_ONE_MOMENT or self._is_storm:
            self._steps, self._is_storm = 0, False
            self._starts.clear()
            why = "so much happens at one moment that time stands still: a restart without delay?"
            raise RuntimeError(why)
        self._calls.append(self._clock.pop())
        if self._busy is None:
            self._run()

    def _count_start(self, vm_id: str) -> None:
        """See when one VM is started again and again, and time does not move."""
        if self._starts_at != self._clock.now:
            self._starts_at = self._clock.now
            self._starts.clear()
        self._starts[vm_id] = self._starts.get(vm_id, 0) + 1
        self._is_storm = self._is_storm or self._starts[vm_id] > _MOST_STARTS

    def waiter(self) -> Waiter:
        """See Backend."""
        ensure_room()
        return _Flag()

    def block(self, waiter: Waiter, timeout: float | None) -> bool:
        """Move time until ``waiter`` is set or ``timeout`` has passed."""
        with self._lock:
            end = None if timeout is None else self._clock.now + timeout
            steps, moments = 0, 0
            last: float | None = None
            self._starts.clear()  # what a caller asks for again and again is no storm
            while not waiter.is_set():
                at = self._clock.next_at()
                steps += 1
                moments, last = moments + (at != last), at
                most = _MOST_MOMENTS + _MOMENTS_OF_ONE * len(self._processes)
                if end is None and (steps > _MOST_IN_A_WAIT or moments > most):
                    what = f"given up after {steps} things have happened, and not that"
                    what = f"{what}, by {self.now:g} s of virtual time: give a timeout"
                    raise RuntimeError("; ".join([what, *self.hints()]))
                if end is not None and (at is None or at > end):
                    self._clock.now = max(self._clock.now, end)
                    return False
                if at is None:
                    what = "no event is left in virtual time"
                    raise RuntimeError("; ".join([what, *self.hints()]))
                self._step(at)
            return True

    def call_later(self, delay: float, call: Callable[[], None]) -> FakeTimer:
        """See Backend."""
        return self._clock.call_later(delay, call)

    def monotonic(self) -> float:
        """See Backend."""
        return self._clock.now

    def wall(self) -> float:
        """See Backend."""
        return _EPOCH + self._clock.now

    def new_id(self) -> str:
        """See Backend."""
        return f"{self._random.getrandbits(128):032x}"

    def chance(self) -> float:
        """See Backend."""
        return 2.0 * self._random.random() - 1.0

    def listen(self, callback: Callable[[Any], None], *, name: str) -> Listener:  # noqa: ARG002 - no thread to name
        """See Backend."""
        queue = _Queue(callback)
        self._queues.append(queue)
        return queue

    def resolve(self, config: VMConfig, base: str) -> Plan:
        """See Backend."""
        return Plan(config, base)

    def spawn(self, key: Key, plan: Plan) -> None:
        """See Backend."""
        assert self._sink is not None  # noqa: S101 - an engine opened it
        if key.generation > 1:
            self._count_start(key.vm_id)
        name = plan.config.name
        program = self._scripts.play(name, key.generation)
        process = FakeProcess(self._clock, self._sink, key, plan, program, self._scripts)
        self._processes[key] = process
        self._names[name] = key
        self._pid += 1
        process.start(self._pid)

    def stop(self, key: Key, *, grace: float) -> None:
        """See Backend."""
        if key in self._processes:
            process = self._processes[key]
            self._calls.append(lambda: process.stop(grace))

    def signal(self, key: Key, number: int, *, to: str) -> None:  # noqa: ARG002 - a fake tree is one process
        """See Backend."""
        if key in self._processes:
            process = self._processes[key]
            self._calls.append(lambda: process.signal(number))

    def watch(self, key: Key, role: str, probe: Probe) -> None:
        """See Backend."""
        if key in self._processes:
            self._processes[key].watch(role, probe)

    def unwatch(self, key: Key, role: str) -> None:
        """See Backend."""
        if key in self._processes:
            self._processes[key].unwatch(role)

    def usage(self, key: Key) -> Usage:
        """See Backend."""
        process = self._processes.get(key)
        if process is None or process.is_over or process.pid is None:
            return Usage(0.0, None, 0, 0, 0, 0)
        return Usage(0.0, 0.0, 2**20, 1, 1, 3)

    def release(self, key: Key) -> None:
        """See Backend."""
        process = self._processes.pop(key, None)
        if process is not None:
            process.end_silently()
            name = process.plan.config.name
            if self._names.get(name) == key:
                del self._names[name]

    def close(self) -> None:
        """See Backend."""
        self._warn_of_slips()
        for queue in self._queues:
            queue.deliver()

    def _warn_of_slips(self) -> None:
        """Say once of each VM that it may lack its script; when all have been allocated."""
        for words in self._scripts.untold_slips():
            _log.warning("%s; a script is found by the VM's name", words)
