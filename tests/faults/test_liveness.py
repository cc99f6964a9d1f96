"""Each probe as ``alive``: a VM turns unhealthy with its words, recovers, or is started again."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procvm import (
    FakeBackend,
    FakeProgram,
    RestartPolicy,
    SubprocessBackend,
    VMConfig,
    VMManager,
    VMState,
    probes,
)
from procvm.probes import Probe

# Serves at its place while there is no sign; a fresh life takes the sign away.
SERVER = """
import os, socket, sys, time
kind, place, sign = sys.argv[1:]
if os.path.exists(sign):
    os.unlink(sign)
if kind == "http":
    one = socket.create_server(("127.0.0.1", int(place)))
    print("up", flush=True)
    while True:
        asking, _ = one.accept()
        with asking:
            asking.recv(4096)
            status = b"503 no" if os.path.exists(sign) else b"200 yes"
            asking.sendall(b"HTTP/1.1 " + status + b"\\r\\nContent-Length: 0\\r\\n\\r\\n")

def begin():
    if kind == "file":
        open(place, "x").close()
        return None
    if kind == "tcp":
        return socket.create_server(("127.0.0.1", int(place)))
    made = socket.socket(socket.AF_UNIX)
    made.bind(place)
    made.listen(100)
    return made

def end(one):
    if one is not None:
        one.close()
    if kind != "tcp":
        os.unlink(place)

if kind != "tcp" and os.path.exists(place):
    os.unlink(place)
while True:
    one = begin()
    print("up", flush=True)
    while not os.path.exists(sign):
        time.sleep(0.005)
    end(one)
    while os.path.exists(sign):
        time.sleep(0.005)
"""

KINDS = ["tcp", "http", "unix", "file"]


@pytest.fixture(params=["tree", "group"])
def manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    with VMManager(SubprocessBackend(request.param)) as made:
        yield made


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def probe_of(kind: str, place: str) -> Probe:
    if kind == "tcp":
        return probes.tcp(int(place), interval=0.01, failures=2)
    if kind == "http":
        return probes.http(f"http://127.0.0.1:{place}/", interval=0.01, failures=2)
    make = probes.unix if kind == "unix" else probes.file
    return make(place, interval=0.01, failures=2)


def place_of(kind: str, folder: Path, port: int) -> str:
    return str(port) if kind in ("tcp", "http") else str(folder / "place")


WORDS = {
    "tcp": "Connection refused", "http": "GET / answered 503", "unix": "No such file or directory",
    "file": "is not there",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_answer_is_unhealthy_until_it_does(
    manager: VMManager, tmp_path: Path, free_port: int, kind: str
) -> None:
    place, sign = place_of(kind, tmp_path, free_port), tmp_path / "sign"
    command = [sys.executable, "-c", SERVER, kind, place, str(sign)]
    config = VMConfig("x", command, ready=probes.log("up"), alive=probe_of(kind, place))
    vm = manager.allocate(config)
    sign.touch()
    vm = manager.wait(vm, lambda now: not now.healthy, timeout=60)
    assert vm.state is VMState.RUNNING
    assert WORDS[kind] in vm.reason
    assert manager.health().unhealthy == (vm,)
    sign.unlink()
    vm = manager.wait(vm, lambda now: now.healthy, timeout=60)
    assert vm.generation == 1
    assert manager.health().status == "good"


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_answer_is_started_again_by_its_policy(
    manager: VMManager, tmp_path: Path, free_port: int, kind: str
) -> None:
    place, sign = place_of(kind, tmp_path, free_port), tmp_path / "sign"
    command = [sys.executable, "-c", SERVER, kind, place, str(sign)]
    alive, policy = probe_of(kind, place), RestartPolicy(when="on-failure", initial=0.001)
    config = VMConfig("x", command, ready=probes.log("up"), alive=alive, restart=policy)
    vm = manager.allocate(config)
    sign.touch()
    vm = manager.wait(vm, lambda now: now.generation == 2 and now.healthy, timeout=60)
    assert vm.restarts == 1
    assert not sign.exists()
    assert WORDS[kind] in next(e.detail for e in manager.history(vm) if e.kind == "unhealthy")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("restart", ["never", "on-failure"])
def test_in_virtual_time_it_is_the_same(kind: str, restart: Any) -> None:
    sick = FakeProgram(probes=((0.0, True, "yes"), (10.0, False, "no"), (20.0, True, "again")))
    fake = FakeBackend()
    fake.program("x", sick, FakeProgram())
    with VMManager(fake) as manager:
        alive, policy = probe_of(kind, "80"), RestartPolicy(when=restart)
        vm = manager.allocate(VMConfig("x", ["x"], alive=alive, restart=policy))
        vm = manager.wait(vm, lambda now: not now.healthy, timeout=60)
        if restart == "never":
            assert "no" in vm.reason
        vm = manager.wait(vm, lambda now: now.healthy, timeout=60)
        assert vm.generation == (1 if restart == "never" else 2)
