"""A probe that a stranger answers: who listened before the start makes nobody ready."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from procvm import (
    VM,
    ExitedBeforeReadyError,
    ReadyTimeoutError,
    StartInterruptedError,
    SubprocessBackend,
    VMConfig,
    VMManager,
    VMState,
    probes,
)  # fmt: skip
from procvm.backends.base import Plan
from procvm.backends.subprocess import _members
from procvm.backends.subprocess.probing import Strangers, _sockets
from procvm.backends.subprocess.probing._strangers import Neighbours

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="whose a socket is, /proc tells")

# Binds as soon as it may, at a port or a path, and answers whoever comes.
SERVER = """
import os, socket, sys, time
place, options = sys.argv[1], sys.argv[2:]
for word in options:
    if word == "loop":
        import asyncio
        loop = asyncio.new_event_loop()
    if word == "connected":
        client = socket.create_connection(("127.0.0.1", int(place)))
    if word == "elsewhere":
        other = socket.create_server(("127.0.0.1", 0))
    if word.startswith("after="):
        while not os.path.exists(word[6:]):
            time.sleep(0.001)
    if word in ("loop", "connected", "elsewhere", "idle"):
        print("idle", flush=True)
        time.sleep(1000)
while True:
    try:
        if place.startswith("/"):
            one = socket.socket(socket.AF_UNIX)
            one.bind(place)
            one.listen()
        else:
            one = socket.create_server(("127.0.0.1", int(place)), reuse_port="share" in options)
        break
    except OSError:
        if "once" in options:
            raise
        time.sleep(0.01)
print(place if place.startswith("/") else one.getsockname()[1], flush=True)
kept = []
while True:
    asking, _ = one.accept()
    try:
        asking.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
    except OSError:
        pass  # it has gone already, as probes do
    if "keep" in options:
        kept.append(asking)
"""


@pytest.fixture(params=["tree", "group"])
def manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    with VMManager(SubprocessBackend(request.param)) as made:
        yield made


class Stranger:
    """A server that nobody of ours has started."""

    def __init__(self, place: str, *options: str) -> None:
        command = [sys.executable, "-c", SERVER, place, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.place = self.process.stdout.readline().strip()

    @property
    def port(self) -> int:
        return int(self.place)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.place.startswith("/"):
            Path(self.place).unlink(missing_ok=True)


@contextlib.contextmanager
def stranger(place: str = "0", *options: str) -> Iterator[Stranger]:
    one = Stranger(place, *options)
    try:
        yield one
    finally:
        one.end()
        one.process.stdout.close()  # type: ignore[union-attr] # it has one


def probe_of(kind: str, place: str, **options: Any) -> probes.Probe:
    if kind == "unix":
        return probes.unix(place, **options)
    if kind == "http":
        return probes.http(f"http://localhost:{place}/", **options)
    return probes.tcp(int(place), **options)


def told(one: Stranger) -> str:
    return f"was listened to before the start, by pid {one.process.pid} ("


@contextlib.contextmanager
def allocating(manager: VMManager, config: VMConfig) -> Iterator[Future[VM]]:
    begun = threading.Event()
    manager.subscribe(lambda _: begun.set())
    with ThreadPoolExecutor(1) as pool:
        allocated = pool.submit(manager.allocate, config)
        assert begun.wait(30)
        yield allocated


def serving(one: Stranger, *options: str) -> list[str]:
    return [sys.executable, "-c", SERVER, one.place, *options]


@pytest.mark.parametrize("kind", ["tcp", "http", "unix"])
def test_nobody_is_ready_by_the_socket_of_a_stranger(
    manager: VMManager, tmp_path: Path, kind: str
) -> None:
    """It is, once the stranger has gone and its own program listens."""
    with stranger(str(tmp_path / "socket") if kind == "unix" else "0") as one:
        probe = probe_of(kind, one.place, timeout=60)
        with allocating(manager, VMConfig("x", serving(one), ready=probe)) as allocated:
            vm = manager.wait("x", lambda now: told(one) in now.reason, timeout=30)
            assert vm.state is VMState.STARTING
            one.end()
            vm = allocated.result(30)
        assert vm.state is VMState.RUNNING
        assert vm.reason.startswith("ready: ")


def test_a_program_whose_port_is_taken_was_never_ready(manager: VMManager, tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    with stranger() as one:
        command = serving(one, f"after={sign}", "once")
        config = VMConfig("x", command, ready=probes.tcp(one.port))
        with allocating(manager, config) as allocated:
            manager.wait("x", lambda now: told(one) in now.reason, timeout=30)
            sign.touch()
            with pytest.raises(ExitedBeforeReadyError, match="Address already in use") as caught:
                allocated.result(30)
        assert told(one) in caught.value.why
    assert manager.list() == []


def test_of_one_that_ends_an_unprivileged_host_sees_no_more_and_knows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is about to end belongs to root, as proc(5) says, and serves nobody any more."""

    def refused(_: str) -> list[str]:
        raise PermissionError

    own = _members.stat_of(os.getpid())
    assert own is not None
    monkeypatch.setattr(os, "listdir", refused)
    with pytest.raises(PermissionError):
        _sockets.sockets_of(os.getpid())  # it runs, and may not be looked at
    monkeypatch.setattr(_members, "stat_of", lambda _: own._replace(flags=own.flags | 0x4))
    assert _sockets.sockets_of(os.getpid()) == set()


class Beside:
    """A tree, and its neighbours."""

    main = None

    def __init__(self, pids: tuple[int, ...], neighbours: Neighbours) -> None:
        self._pids, self._neighbours = pids, neighbours

    def pids(self) -> tuple[int, ...]:
        return self._pids

    def neighbours(self) -> Neighbours:
        return self._neighbours


def test_another_vm_answers_for_nobody_who_has_ended() -> None:
    """Also when it began to listen after that one's start."""
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
        place = str(free_port())
        probe = probes.tcp(int(place))
        plan = Plan(VMConfig("x", "true"), "/", directory="/")
        alone = Strangers((probe,), plan, Beside((ended.pid,), {"other": lambda: ()}))
        with stranger(place):
            assert alone.judged(probe, (True, "connected"))[0] is False


@pytest.mark.parametrize("is_collected", [True, False])
def test_a_stranger_answers_for_nobody_who_has_ended(is_collected: bool) -> None:
    """A program that a taken port has ended was never ready, in no moment of its end."""
    with stranger() as one, subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        if is_collected:
            ended.wait()
        probe = probes.tcp(one.port)
        plan = Plan(VMConfig("x", "true"), "/", directory="/")
        for pids in ((), (ended.pid,)):
            strangers = Strangers((probe,), plan, Beside(pids, {}))
            assert strangers.judged(probe, (True, "connected"))[0] is False


@pytest.mark.parametrize("does", ["idle", "loop"])
def test_what_has_no_business_with_a_stranger_is_not_ready_by_him(
    manager: VMManager, does: str
) -> None:
    """An event loop has a pair of sockets of its own, and talks to nobody by it."""
    with stranger() as one:
        probe = probes.tcp(one.port, timeout=1.0)
        with pytest.raises(ReadyTimeoutError, match=f"by pid {one.process.pid} "):
            manager.allocate(VMConfig("x", serving(one, does), ready=probe))
    assert manager.list() == []


@pytest.mark.parametrize("does", ["share", "connected", "elsewhere"])
def test_who_may_have_to_do_with_a_stranger_is_ready_by_him(manager: VMManager, does: str) -> None:
    """It shares his port, is his client, or listens where he may send what he is asked."""
    with stranger("0", "share", "keep") as one:
        config = VMConfig("x", serving(one, does), ready=probes.tcp(one.port))
        assert manager.allocate(config).state is VMState.RUNNING


def test_a_program_that_says_itself_that_it_is_ready_may_need_a_stranger(
    manager: VMManager,
) -> None:
    with stranger() as one:
        ready = probes.all_of(probes.log("idle"), probes.tcp(one.port))
        vm = manager.allocate(VMConfig("x", serving(one, "idle"), ready=ready))
        assert vm.state is VMState.RUNNING


def test_a_socket_of_the_host_is_no_stranger(manager: VMManager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine:
        ready = probes.tcp(mine.getsockname()[1])
        vm = manager.allocate(VMConfig("x", ["sleep", "1000"], ready=ready))
        assert vm.state is VMState.RUNNING


def test_a_network_of_its_own_is_not_judged(manager: VMManager) -> None:
    shut = ["unshare", "--net", "sleep", "1000"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        subprocess.run(["unshare", "--net", "true"], check=True, capture_output=True)
        with stranger() as one:
            ready = probes.tcp(one.port, timeout=10)
            assert manager.allocate(VMConfig("x", shut, ready=ready)).state is VMState.RUNNING
        return
    pytest.skip("no network namespace is to be had here")


def test_a_socket_that_was_handed_over_is_its_own(manager: VMManager, tmp_path: Path) -> None:
    """As by systemd: who has bound it sends it along, and keeps it."""
    giver = f"""
import socket
one = socket.create_server(("127.0.0.1", 0))
there = socket.socket(socket.AF_UNIX)
there.bind({str(tmp_path / "give")!r})
there.listen()
print(one.getsockname()[1], flush=True)
while True:
    taker, _ = there.accept()
    socket.send_fds(taker, [b"x"], [one.fileno()])
"""
    taker = f"""
import socket
with socket.socket(socket.AF_UNIX) as there:
    there.connect({str(tmp_path / "give")!r})
    fds = socket.recv_fds(there, 1, 1)[1]
one = socket.socket(fileno=fds[0])
while True:
    one.accept()
"""
    with subprocess.Popen([sys.executable, "-c", giver], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ready = probes.tcp(int(process.stdout.readline()))
        vm = manager.allocate(VMConfig("x", [sys.executable, "-c", taker], ready=ready))
        assert vm.state is VMState.RUNNING
        process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
    return port


@pytest.mark.parametrize("kind", ["tcp", "http", "unix"])
def test_nobody_is_ready_by_the_socket_of_another_vm(
    manager: VMManager, tmp_path: Path, kind: str
) -> None:
    """Of two that want one place and were started before anybody had it, who has it is ready."""
    place = str(tmp_path / "socket") if kind == "unix" else str(free_port())
    probe = probe_of(kind, place, timeout=60)
    server = [sys.executable, "-c", SERVER, place]
    with allocating(manager, VMConfig("late", [*server, "idle"], ready=probe)) as allocated:
        manager.wait("late", lambda now: now.pid is not None, timeout=30)
        first = manager.allocate(VMConfig("first", server, ready=probe))
        assert first.state is VMState.RUNNING
        told = f"{place} is listened to by the VM 'first', which is no part of it"
        manager.wait("late", lambda now: told in now.reason, timeout=30)
        manager.remove("late", grace=0)
        with pytest.raises(StartInterruptedError):
            allocated.result(30)


def test_a_vm_that_listened_before_the_start_is_named(manager: VMManager) -> None:
    place = str(free_port())
    server = [sys.executable, "-c", SERVER, place]
    probe = probes.tcp(int(place), timeout=1.0)
    manager.allocate(VMConfig("first", server, ready=probes.tcp(int(place))))
    with pytest.raises(ReadyTimeoutError, match="is listened to by the VM 'first'"):
        manager.allocate(VMConfig("late", [*server, "idle"], ready=probe))


@pytest.mark.parametrize("does", ["share", "connected", "elsewhere"])
def test_who_may_have_to_do_with_another_vm_is_ready_by_it(
    manager: VMManager, tmp_path: Path, does: str
) -> None:
    sign, place = tmp_path / "sign", str(free_port())
    probe = probes.tcp(int(place), timeout=60)
    server = [sys.executable, "-c", SERVER, place]
    late = VMConfig("late", [*server, f"after={sign}", does, "share"], ready=probe)
    with allocating(manager, late) as allocated:
        manager.wait("late", lambda now: now.pid is not None, timeout=30)
        manager.allocate(VMConfig("first", [*server, "share", "keep"], ready=probe))
        manager.wait("late", lambda now: "by the VM 'first'" in now.reason, timeout=30)
        sign.touch()
        assert allocated.result(30).state is VMState.RUNNING
