"""A backend as a third party might write it: Popen, one loop, and a thread for whatever blocks.

It imports only what procvm publishes. It is small and plain, not fast.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import os
import queue
import random
import re
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import psutil

from procvm import Backend, ConfigError, ProgramNotFoundError, Usage, VMConfig
from procvm.backends import Capabilities, Key, Plan, Sink
from procvm.probes import Command, Log, Probe


def members(session: int) -> list[psutil.Process]:
    """Return what lives of a session beside its leader."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            is_member = os.getsid(process.pid) == session != process.pid
            if is_member and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


class Timer:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Loop:
    """One thread that runs calls, now or later."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def post(self, call: Callable[[], None] | None) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="third", daemon=True)
                self._thread.start()
        self._calls.put(call)

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        timer = Timer(call)
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._count), timer))
        return timer

    def _run(self) -> None:
        while True:
            wait = self._timers[0][0] - time.monotonic() if self._timers else None
            call: Callable[[], None] | None = None
            if wait is not None and wait <= 0:
                call = heapq.heappop(self._timers)[2].call
            else:
                try:
                    call = self._calls.get(timeout=wait)
                except queue.Empty:
                    continue
                if call is None:
                    return
            if call is not None:
                with contextlib.suppress(Exception):
                    call()

    def close(self) -> None:
        if self._thread is not None:
            self.post(None)
            self._thread.join()

    def join(self, timeout: float) -> None:
        if self._thread not in (None, threading.current_thread()):
            self._thread.join(timeout)


class Listener:
    def __init__(self, callback: Callable[[Any], None]) -> None:
        self._callback = callback
        self._loop = Loop()

    def put(self, item: Any) -> None:
        self._loop.post(lambda: self._callback(item))

    def stop(self) -> None:
        self._loop.post(None)

    def join(self, timeout: float) -> None:
        self._loop.join(timeout)


class Running:
    def __init__(self, plan: Plan, process: subprocess.Popen[bytes]) -> None:
        self.plan, self.process = plan, process
        self.text = {"stdout": b"", "stderr": b""}
        self.probes: dict[str, Probe] = {}
        self.kill: Timer | None = None
        self.kill_at = float("inf")
        self.is_over = False


class ThirdBackend(Backend):
    """Sessions of Popen; what leaves its session is not found, and it says so."""

    def __init__(self) -> None:
        self._loop = Loop()
        self._sink: Any = None
        self._running: dict[Key, Running] = {}
        self.spawned: list[subprocess.Popen[bytes]] = []
        self.waiting: list[threading.Thread] = []

    @property
    def capabilities(self) -> Capabilities:
        weaker = ("what leaves its session is not found", "a host that is killed leaves all")
        return Capabilities("group", host_death=False, degraded=weaker)

    def open(self, sink: Sink) -> None:
        if self._sink is not None:
            raise ConfigError("backend", "ThirdBackend", "has a manager already")
        self._sink = sink

    def post(self, call: Callable[[], None]) -> None:
        self._loop.post(call)

    def waiter(self) -> threading.Event:
        return threading.Event()

    def block(self, waiter: Any, timeout: float | None) -> bool:
        return bool(waiter.wait(timeout))

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        return self._loop.call_later(delay, call)

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def new_id(self) -> str:
        return uuid.uuid4().hex

    def chance(self) -> float:
        return random.uniform(-1.0, 1.0)

    def listen(self, callback: Callable[[Any], None], *, name: str) -> Listener:
        return Listener(callback)

    def resolve(self, config: VMConfig, base: str) -> Plan:
        return Plan(config, base, directory=os.path.join(base, config.path))  # noqa: PTH118 - text

    # --- a life -----------------------------------------------------------------------

    def spawn(self, key: Key, plan: Plan) -> None:
        try:
            process = subprocess.Popen(
                plan.config.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, start_new_session=True, cwd=plan.directory,
                env={**os.environ, **plan.config.env},
            )  # fmt: skip
        except OSError as e:
            error = ProgramNotFoundError(str(e), plan.config.name)
            self.post(functools.partial(self._sink.start_failed, key, error))
            return
        self.spawned.append(process)
        running = self._running[key] = Running(plan, process)
        self._sink.started(key, process.pid)
        readers = [
            threading.Thread(target=self._read, args=(key, running, stream), daemon=True)
            for stream in ("stdout", "stderr")
        ]
        waits = threading.Thread(target=self._wait, args=(key, running, readers), daemon=True)
        self.waiting.append(waits)
        for thread in (*readers, waits):
            thread.start()

    def _read(self, key: Key, running: Running, stream: str) -> None:
        pipe: Any = getattr(running.process, stream)
        with pipe:
            while data := os.read(pipe.fileno(), 65536):
                self.post(functools.partial(self._wrote, key, running, stream, data))

    def _wrote(self, key: Key, running: Running, stream: str, data: bytes) -> None:
        if running.is_over:
            return
        running.text[stream] += data
        self._sink.output(key, stream, data)
        self._look_for_words(key, running)

    def _wait(self, key: Key, running: Running, readers: list[threading.Thread]) -> None:
        os.waitid(os.P_PID, running.process.pid, os.WEXITED | os.WNOWAIT)  # not reaped: its
        self.kill_rest(running)  # number, and its group's, stay its own until the rest is gone
        for reader in readers:
            reader.join()
        self.post(lambda: self._ended(key, running, running.process.wait()))

    def kill_rest(self, running: Running) -> None:
        while rest := members(running.process.pid):
            for process in rest:
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def _ended(self, key: Key, running: Running, code: int) -> None:
        running.is_over = True
        if running.kill is not None:
            running.kill.cancel()
        ended = (code, None) if code >= 0 else (None, -code)
        self._sink.exited(key, *ended, tree_gone=True)

    def stop(self, key: Key, *, grace: float) -> None:
        running = self._running.get(key)
        if running is None or running.is_over:
            self._sink.gone(key)
            return
        if running.kill is None:
            running.process.send_signal(running.plan.config.stop.signal)
        elif time.monotonic() + grace >= running.kill_at:
            return
        else:
            running.kill.cancel()
        running.kill_at = time.monotonic() + grace
        running.kill = self.call_later(grace, running.process.kill)

    def signal(self, key: Key, number: int, *, to: str) -> None:
        running = self._running.get(key)
        if running is not None and not running.is_over:
            running.process.send_signal(number)

    # --- probes: those that this backend knows ------------------------------------------

    def watch(self, key: Key, role: str, probe: Probe) -> None:
        running = self._running.get(key)
        if running is not None:
            running.probes[role] = probe
            self._look_for_words(key, running)
            if isinstance(probe, Command):
                self._try(key, running, role, probe)

    def _look_for_words(self, key: Key, running: Running) -> None:
        probe = running.probes.get("ready")
        said = b"\n".join(running.text.values()).decode("utf-8", "replace")
        if isinstance(probe, Log) and re.search(probe.pattern, said, re.MULTILINE):
            del running.probes["ready"]
            self._sink.probed(key, "ready", passed=True, words="a line matched")

    def _try(self, key: Key, running: Running, role: str, probe: Command) -> None:
        if running.probes.get(role) is not probe or running.is_over:
            return
        passed = subprocess.run(probe.argv, check=False).returncode == 0  # blocks: kept plain
        self._sink.probed(key, role, passed=passed, words="the command ended")
        self.call_later(probe.interval, lambda: self._try(key, running, role, probe))

    def unwatch(self, key: Key, role: str) -> None:
        running = self._running.get(key)
        if running is not None:
            running.probes.pop(role, None)

    def usage(self, key: Key) -> Usage:
        running = self._running.get(key)
        if running is None or running.is_over:
            return Usage(0.0, None, 0, 0, 0, 0)
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(running.process.pid)
            return Usage(sum(process.cpu_times()[:2]), None, process.memory_info().rss, 1, 1, 3)
        return Usage(0.0, None, 0, 0, 0, 0)

    def release(self, key: Key) -> None:
        self._running.pop(key, None)

    def close(self) -> None:
        self._loop.close()
