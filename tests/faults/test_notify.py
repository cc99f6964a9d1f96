"""What a program says of itself on its NOTIFY_SOCKET, and who is not heard."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from procvm import (
    ExitedBeforeReadyError,
    ReadyTimeoutError,
    SubprocessBackend,
    VMConfig,
    VMEvent,
    VMManager,
    VMState,
    probes,
)

PYTHON = [sys.executable, "-I", "-S", "-c"]
SAY = """
import os, socket, sys, time
def say(*words, address=None):
    address = address or os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.sendto("\\n".join(words).encode(), "\\0" + address[1:])
"""


@pytest.fixture(params=["tree", "group"])
def manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    with VMManager(SubprocessBackend(request.param)) as made:
        yield made


def program(name: str, body: str, *, timeout: float | None = None) -> VMConfig:
    ready = probes.notify(timeout=timeout)
    return VMConfig(name, [*PYTHON, f"{SAY}\n{body}"], ready=ready)


def send(address: str, words: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.sendto(words, "\0" + address[1:])


def hold(free: threading.Event) -> None:
    free.wait(60)


ADDRESS = "print(os.environ['NOTIFY_SOCKET'], flush=True)"


def test_a_stranger_is_not_heard(manager: VMManager, tmp_path: Path) -> None:
    """Neither this process, nor another program, nor another VM makes it ready.

    What it says itself comes after them, on one socket: when that is told they were all read.
    """
    go = tmp_path / "go"
    os.mkfifo(go)
    heard: list[str] = []

    def tell(address: str) -> None:
        heard.append(address)
        send(address, b"READY=1\nSTATUS=mine")
        other = f"{SAY}\nsay('READY=1', address=sys.argv[1]); print(flush=True); time.sleep(1000)"
        with subprocess.Popen([*PYTHON, other, address], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            said = f"say('READY=1', address={address!r}); say('READY=1'); time.sleep(1000)"
            manager.allocate(program("other", said))
            process.kill()

    def on_event(event: VMEvent) -> None:
        if event.kind == "started" and event.vm.name == "x":
            tell(next(iter(manager.follow(event.vm))).text)
            go.write_text("\n")
        elif event.kind == "status":
            heard.append(event.detail)
            os.kill(event.vm.pid or 0, signal.SIGKILL)

    manager.subscribe(on_event)
    own = f"{ADDRESS}\nopen({str(go)!r}).readline(); say('STATUS=own'); time.sleep(1000)"
    with pytest.raises(ExitedBeforeReadyError):
        manager.allocate(program("x", own, timeout=60.0))
    assert heard[1:] == ["own"]
    assert manager.get("other").state is VMState.RUNNING
    assert [event.detail for event in manager.history() if event.kind == "status"] == ["own"]


@pytest.mark.parametrize(
    "body",
    [
        "if os.fork(): time.sleep(1000)\nsay('READY=1'); time.sleep(1000)",
        "if os.fork(): time.sleep(1000)\nos.setsid()\nparent = os.getpid()\n"
        "if os.fork(): os._exit(0)\n"
        "while os.getppid() == parent: time.sleep(0.001)\n"
        "say('READY=1'); time.sleep(1000)",
    ],
    ids=["child", "daemon"],
)
def test_the_whole_tree_is_heard(manager: VMManager, body: str) -> None:
    assert manager.allocate(program("x", body)).state is VMState.RUNNING


@pytest.mark.parametrize("uid", [os.getuid(), 65534])
def test_a_sender_that_is_dead_already_is_heard_if_it_was_its_user(
    manager: VMManager, tmp_path: Path, uid: int
) -> None:
    """As a one-shot child of a script: its message is read after it was collected."""
    if uid != os.getuid() != 0:
        pytest.skip("only root can be another user for a moment")
    body = (
        f"while not os.path.exists('{tmp_path}/go'): time.sleep(0.01)\n"
        "pid = os.fork()\n"
        f"if pid == 0: os.setuid({uid}); say('READY=1'); os._exit(0)\n"
        f"os.waitpid(pid, 0); open('{tmp_path}/said', 'w').close(); time.sleep(1000)"
    )
    backend = manager._core.backend

    def on_event(event: VMEvent) -> None:
        if event.kind == "started":
            free = threading.Event()
            backend.post(lambda: hold(free))  # the loop reads nothing meanwhile
            (tmp_path / "go").touch()
            while not (tmp_path / "said").exists():
                time.sleep(0.01)  # a file has no event
            free.set()

    manager.subscribe(on_event)
    is_its_user = uid == os.getuid()
    config = program("x", body, timeout=30.0 if is_its_user else 2.0)
    if is_its_user:
        assert manager.allocate(config).state is VMState.RUNNING
    else:
        with pytest.raises(ReadyTimeoutError):
            manager.allocate(config)


def test_a_barrier_is_lifted(manager: VMManager) -> None:
    """systemd-notify(1) waits until the descriptor that it sent along is closed."""
    body = """
import select
read, write = os.pipe()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
    say("STATUS=before")
    one.connect("\\0" + os.environ["NOTIFY_SOCKET"][1:])
    socket.send_fds(one, [b"BARRIER=1"], [write])
os.close(write)
poll = select.poll()
poll.register(read, 0)
assert poll.poll(20_000), "nobody closed it"
say("READY=1")
time.sleep(1000)
"""
    assert manager.allocate(program("x", body)).state is VMState.RUNNING


def test_a_status_is_the_reason_and_an_event(manager: VMManager, tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    body = (  # each word waits until the one before was told
        f"go = open({str(go)!r})\n"
        "say('STATUS=loading \\x1b[1m 1 %'); go.readline(); say('READY=1', 'STATUS=up')\n"
        "go.readline(); say('STATUS=' + 'x' * 3000); go.readline(); say('STOPPING=1')\n"
        "time.sleep(1000)"
    )
    with go.open("r+b", buffering=0) as pipe:  # both: neither end waits for the other

        def go_on(event: VMEvent) -> None:
            if event.kind == "status":
                pipe.write(b"\n")

        manager.subscribe(go_on)
        vm = manager.allocate(program("x", body))
        vm = manager.wait(vm, lambda now: "stopping" in now.reason, timeout=60)
    assert vm.state is VMState.RUNNING
    assert vm.healthy
    told = [event for event in manager.history(vm) if event.kind == "status"]
    words = [event.detail for event in told]
    assert words[0] == "loading \N{REPLACEMENT CHARACTER}[1m 1 %"
    assert words[1] == "up"
    assert words[2].startswith("xxx")
    assert len(words[2]) < 400
    assert words[3] == "it says that it is stopping"
    assert told[0].vm.reason == f"not ready yet: {words[0]}"
    assert told[1].vm.reason == "running: up"


def test_the_last_status_is_told_when_it_was_not_ready_in_time(manager: VMManager) -> None:
    with pytest.raises(ReadyTimeoutError, match="waiting for the disk"):
        manager.allocate(
            program("x", "say('STATUS=waiting for the disk'); time.sleep(9)", timeout=3)
        )


def test_a_program_that_talks_without_end_drowns_nobody(manager: VMManager) -> None:
    body = (
        "say('READY=1')\n"
        "for i in range(20_000): say(f'STATUS={i}')\n"
        "print('done', flush=True); time.sleep(1000)"
    )
    vm = manager.allocate(program("x", body))
    assert next(iter(manager.follow(vm))).text == "done"
    vm = manager.wait(vm, lambda now: now.reason == "running: 19999", timeout=60)
    told = [event for event in manager.history(vm) if event.kind == "status"]
    assert 2 <= len(told) < 200
    assert manager.remove(vm).state is VMState.REMOVED


@pytest.mark.parametrize(
    "words", [b"", b"READY=0", b"READY=1 ", b"XREADY=1", b"\xff\xfe", b"READY=1\n" + b"x" * 5000]
)
def test_what_is_no_message_is_none(manager: VMManager, words: bytes) -> None:
    body = (
        "with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:\n"
        f"    one.sendto({words!r}, '\\0' + os.environ['NOTIFY_SOCKET'][1:])\n"
        "time.sleep(1000)"
    )
    with pytest.raises(ReadyTimeoutError):
        manager.allocate(program("x", body, timeout=0.5))
