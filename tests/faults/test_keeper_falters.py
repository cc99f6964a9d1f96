"""The keeper, the system or the host's own code fails oddly: it is told, and nothing hangs."""

from __future__ import annotations

import errno
import logging
import os
import posix
import resource
import signal
import socket
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procvm import (
    FakeBackend,
    ResourceError,
    SubprocessBackend,
    VMConfig,
    VMEvent,
    VMManager,
    VMState,
)
from procvm.backends.subprocess import _keeper
from procvm.backends.subprocess._calls import CALLS
from procvm.backends.subprocess._lease import LoopLease
from procvm.backends.subprocess.keeper import _spawning
from procvm.backends.subprocess.keeper._tags import Tags

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the keeper is Linux's")
SLEEP = ["sleep", "1000"]


@pytest.fixture
def backend() -> SubprocessBackend:
    return SubprocessBackend("tree")


@pytest.fixture
def manager(backend: SubprocessBackend) -> Iterator[VMManager]:
    with VMManager(backend) as made:
        yield made


NEVER_GREETS = "import time; time.sleep(1000)"
ENDS = "raise SystemExit"
ENDS_SOON = "import time; time.sleep(0.3); raise SystemExit"
STOPS_FIRST = "import os; os.kill(os.getpid(), 19)\n" + _keeper._BOOT


class Starts:
    """Lets each start of a keeper run another program, or fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keepers: list[_keeper.Keeper] = []
        self.programs: list[str | OSError] = []
        start, usual = _keeper.Keeper._start, _keeper._BOOT

        def other(keeper: _keeper.Keeper) -> None:
            program = self.programs.pop(0) if self.programs else usual
            if isinstance(program, OSError):
                raise program
            monkeypatch.setattr(_keeper, "_BOOT", program)
            start(keeper)
            self.keepers.append(keeper)

        monkeypatch.setattr(_keeper.Keeper, "_start", other)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    return Starts(monkeypatch)


# --- before it has greeted ------------------------------------------------------------


def test_one_that_is_stopped_before_it_greets_is_continued(
    manager: VMManager, starts: Starts
) -> None:
    starts.programs = [STOPS_FIRST]
    assert manager.allocate(VMConfig("x", SLEEP)).state is VMState.RUNNING
    assert manager.backend.capabilities.containment == "tree"


def test_one_that_never_greets_is_replaced_and_then_done_without(
    manager: VMManager, starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_keeper, "_TICKS_TO_GREET", 1)
    starts.programs = [NEVER_GREETS, NEVER_GREETS]
    assert manager.allocate(VMConfig("x", SLEEP)).state is VMState.RUNNING
    assert manager.backend.capabilities.containment == "group"
    assert "did not answer for 0.25 s" in manager.backend.capabilities.degraded[0]
    assert all(keeper.process.returncode == -signal.SIGKILL for keeper in starts.keepers)


def test_one_that_cannot_be_started_again_is_done_without(
    manager: VMManager, starts: Starts
) -> None:
    starts.programs = [ENDS, OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))]
    assert manager.allocate(VMConfig("x", SLEEP)).state is VMState.RUNNING
    assert "could not be started again" in manager.backend.capabilities.degraded[0]


@pytest.mark.parametrize("verb", ["remove", "reset"])
def test_what_was_to_go_before_it_greeted_is_not_started_without_it(
    manager: VMManager, starts: Starts, verb: str
) -> None:
    starts.programs = [ENDS_SOON, OSError(errno.EAGAIN, "no")]
    events: list[str] = []
    done = threading.Event()

    def go_on() -> None:
        getattr(manager, verb)("x")
        done.set()

    asks = threading.Thread(target=go_on)

    def on_event(event: VMEvent) -> None:
        events.append(event.kind)
        if event.kind == "allocated":
            asks.start()

    manager.subscribe(on_event)
    core = manager.core
    ticket = core.allocate(VMConfig("x", SLEEP))
    assert done.wait(30), events
    asks.join()
    assert core.block(ticket, 30)
    if verb == "remove":
        assert manager.list() == []
    else:
        vm = manager.get("x")
        assert (vm.generation, vm.state) == (2, VMState.RUNNING)
    assert [vm.name for vm in manager.list()] == (["x"] if verb == "reset" else [])


# --- while it is talked to ------------------------------------------------------------


class FailsOnce:
    """The calls, the first of which fails."""

    def __init__(self, number: int) -> None:
        self.errors = [OSError(number, os.strerror(number))]

    def __getattr__(self, name: str) -> Any:
        return getattr(CALLS, name)

    def send(self, sock: socket.socket, data: bytes) -> None:
        if self.errors:
            raise self.errors.pop()
        CALLS.send(sock, data)


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS])
def test_what_could_not_be_sent_for_now_is_sent_again(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    manager.allocate(VMConfig("first", SLEEP))
    monkeypatch.setattr(_keeper, "CALLS", calls := FailsOnce(number))
    assert manager.allocate(VMConfig("x", SLEEP)).state is VMState.RUNNING
    assert not calls.errors
    assert manager.get("first").state is VMState.RUNNING


def test_one_that_nothing_can_be_said_to_is_replaced(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = manager.allocate(VMConfig("first", SLEEP))
    monkeypatch.setattr(_keeper, "CALLS", FailsOnce(errno.EMSGSIZE))
    with pytest.raises(Exception, match="cannot be told anything"):
        manager.allocate(VMConfig("x", SLEEP))
    assert manager.wait(first, "failed", timeout=30).reason.startswith("the keeper cannot be told")
    assert manager.allocate(VMConfig("x", SLEEP)).state is VMState.RUNNING


def test_a_long_request_that_it_has_no_descriptor_for_is_told(
    backend: SubprocessBackend, manager: VMManager
) -> None:
    manager.allocate(VMConfig("first", SLEEP))
    keeper = backend._reactor.hub._keeper
    assert keeper is not None
    pid = keeper.process.pid
    held = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    first_free = min(set(range(len(held) + 1)) - held)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (first_free, before[1]))
    long = VMConfig("long", SLEEP, env={"LONG": "x" * 40_000})
    with pytest.raises(ResourceError) as told:
        manager.allocate(long)
    assert told.value.errno == errno.EMFILE
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert manager.allocate(long).state is VMState.RUNNING


def test_a_base_that_is_too_long_for_a_message_is_none(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROCVM_LONG", "x" * 100_000)
    shell = 'echo "${#PROCVM_LONG}"; exec sleep 1000'
    for name in ("a", "b"):
        manager.allocate(VMConfig(name, ["sh", "-c", shell]))
        assert str(next(manager.follow(name))) == "100000"


def test_many_requests_to_one_that_is_stopped_wait_with_one_timer(
    backend: SubprocessBackend, manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.allocate(VMConfig("first", SLEEP))
    monkeypatch.setattr(_keeper.Keeper, "_continue_if_stopped", lambda _: None)
    keeper = backend._reactor.hub._keeper
    assert keeper is not None
    os.kill(keeper.process.pid, signal.SIGSTOP)
    tickets = [manager.core.allocate(VMConfig(f"x{n}", SLEEP)) for n in range(600)]
    counts: list[tuple[int, int]] = []
    shared = backend._reactor._shared
    assert shared is not None
    backend._reactor.run(
        lambda: counts.append((len(keeper._waiting), len(shared.reactor._timers)))
    )
    os.kill(keeper.process.pid, signal.SIGCONT)
    ((waiting, timers),) = counts
    assert waiting > 100, "the socket took nearly all of it"
    assert timers < 10
    assert all(manager.core.block(ticket, 60) for ticket in tickets)


# --- the keeper's own failures --------------------------------------------------------


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_odd_names_of_the_host_s_environment_are_left_out(
    containment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw: Any = os.environ._data  # type: ignore[attr-defined] # putenv makes none such: an exec does
    for name in (b"", b"=C:", b"A=B"):
        monkeypatch.setitem(raw, name, b"x")
    with VMManager(SubprocessBackend(containment)) as manager:  # type: ignore[arg-type]
        first = manager.allocate(VMConfig("first", SLEEP, inherit_env=False))
        assert manager.allocate(VMConfig("x", SLEEP)).state is VMState.RUNNING
        assert manager.get(first).state is VMState.RUNNING


def open_now() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def refused(env: dict[bytes, bytes], setup: _spawning.Setup | None) -> tuple[Any, ...]:
    """Spawn as the keeper does, which fails; return how, when no descriptor is left of it."""
    order = _spawning.Order(b"/bin/true", (b"true",), b"/", env, setup)
    before, here = open_now(), Path.cwd()
    try:
        with pytest.raises(_spawning.SpawnError) as told:
            _spawning.spawn(order, None, Tags(), [])
    finally:
        os.chdir(here)  # the keeper goes to the root after each
    assert open_now() == before
    return told.value.args


def test_what_posix_spawn_refuses_is_a_failed_start_and_leaves_nothing() -> None:
    assert refused({b"": b"x"}, None) == (0, "spawn")


def test_a_fork_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, "no process is left")

    refusing = types.SimpleNamespace(**{**vars(posix), "fork": refuse})
    monkeypatch.setattr(_spawning, "posix", refusing)
    setup = _spawning.Setup(None, None, (), None)
    assert refused({}, setup)[0] == errno.EAGAIN


# --- the host's own failures ----------------------------------------------------------


def test_output_that_cannot_be_watched_hurts_nobody_and_comes_at_the_end(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = manager.allocate(VMConfig("first", SLEEP))
    register = LoopLease.register
    errors = [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]

    def refuse(lease: LoopLease, fd: int, ready: Any) -> None:
        if errors:
            raise errors.pop()
        register(lease, fd, ready)

    monkeypatch.setattr(LoopLease, "register", refuse)
    vm = manager.allocate(VMConfig("x", ["sh", "-c", "echo last words; exec sleep 0.1"]))
    manager.wait(vm, timeout=30)
    assert [str(line) for line in manager.logs(vm)] == ["last words"]
    warnings = [event.detail for event in manager.history(vm) if event.kind == "warning"]
    assert warnings == ["its output is looked at ten times a second: No space left on device"]
    assert manager.get(first).pid == first.pid


@pytest.mark.parametrize("make", [FakeBackend, SubprocessBackend])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_predicate_that_wants_out_takes_its_caller_alone(
    make: Any, error: type[BaseException]
) -> None:
    def bad(_: Any) -> bool:
        raise error

    with VMManager(make()) as manager:
        vm = manager.allocate(VMConfig("x", SLEEP))
        with pytest.raises(error):
            manager.wait(vm, bad)
        assert manager.reset(vm).generation == 2


@pytest.mark.parametrize("make", [FakeBackend, SubprocessBackend])
def test_a_log_filter_that_raises_stops_nothing(make: Any) -> None:
    def bad(_: logging.LogRecord) -> bool:
        raise RuntimeError("a filter of the host's")

    log = logging.getLogger("procvm")
    before = log.level
    log.setLevel(logging.INFO)
    log.addFilter(bad)
    try:
        with VMManager(make()) as manager:
            manager.allocate(VMConfig("x", SLEEP))
            assert manager.reset("x").generation == 2
            manager.remove("x")
    finally:
        log.removeFilter(bad)
        log.setLevel(before)


def test_an_engine_that_fails_tells_its_caller(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = manager.allocate(VMConfig("x", SLEEP))

    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(manager.core.engine, "wait", broken)
    with pytest.raises(ZeroDivisionError):
        manager.wait(vm)
    assert manager.remove(vm).state is VMState.REMOVED
