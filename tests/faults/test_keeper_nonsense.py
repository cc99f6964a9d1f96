"""A keeper that says nonsense is given up: its trees are swept, and all is told."""

from __future__ import annotations

import contextlib
import ctypes
import marshal
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tags_seen import tag_of, tagged

from procvm import ProcVMError, StartError, SubprocessBackend, VMConfig, VMManager, VMState
from procvm.backends.subprocess.keeper import _words as words

TREE = ["sh", "-c", "setsid env -i sleep 1000 & sleep 1000 & echo up; sleep 1000"]
PIDFD_GETFD = 438

NONSENSE: dict[str, bytes] = {
    "a byte": b"\0",
    "a text": b"GET / HTTP/1.1\r\n\r\n",
    "cut off": marshal.dumps(((words.GONE, 1),))[:-3],
    "a number": marshal.dumps(7),
    "no facts in it": marshal.dumps((7, 8)),
    "an empty fact": marshal.dumps(((),)),
    "an unknown fact": marshal.dumps((("no-such", 1),)),
    "too short": marshal.dumps(((words.ENDED, 1),)),
    "too long": marshal.dumps(((words.GONE, 1, 2, 3),)),
    "another type": marshal.dumps(((words.ENDED, 1, "seven", None, True),)),
    "no survivors": marshal.dumps(((words.SURVIVED, 1, ((7,),)),)),
    "another version": marshal.dumps(((words.HELLO, words.VERSION + 1, {}),)),
    "a second greeting": marshal.dumps(((words.HELLO, words.VERSION, {}),)),
    "oversized": marshal.dumps(((words.PONG,), b"x" * 150_000)) + b"\0" * 120_000,
}


def keeper() -> int:
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.cmdline()[:1] and child.cmdline()[0].startswith("procvm-keeper"):
                return child.pid
    raise AssertionError("there is no keeper")


def is_socket(fd: Path) -> bool:
    try:
        return fd.readlink().name.startswith("socket:")
    except FileNotFoundError:
        return False  # it was a file that the keeper has read meanwhile


def say(pid: int, data: bytes) -> None:
    """Send ``data`` from the keeper's own end of the socket (pidfd_getfd(2))."""
    end = next(int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir() if is_socket(fd))
    handle = os.pidfd_open(pid)
    try:
        fd = ctypes.CDLL(None).syscall(PIDFD_GETFD, handle, end, 0)
    finally:
        os.close(handle)
    if fd < 0:
        pytest.skip("another process's descriptor is not to be had here")
    with socket.socket(fileno=fd) as theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)  # as far as it may
        theirs.send(data)


@pytest.fixture
def manager() -> Iterator[VMManager]:
    with VMManager(SubprocessBackend("tree")) as made:
        yield made


@pytest.mark.parametrize("what", NONSENSE)
def test_65_nonsense_ends_the_keeper_and_is_told(manager: VMManager, what: str) -> None:
    vm = manager.allocate(VMConfig("x", TREE))
    next(iter(manager.follow(vm)))
    tag, pid = tag_of(vm.pid), keeper()
    assert tag is not None
    say(pid, NONSENSE[what])
    lost = manager.wait(vm, VMState.FAILED, timeout=60)
    assert "nonsense" in lost.reason
    assert tagged(tag) == set()
    assert not Path(f"/proc/{pid}").exists()
    assert manager.allocate(VMConfig("y", ["sleep", "1000"])).state is VMState.RUNNING
    assert manager.reset(vm).state is VMState.RUNNING


def test_65_a_fact_of_nobody_is_ignored(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", TREE))
    pid = keeper()
    say(pid, marshal.dumps(((words.GONE, 999), (words.ENDED, 999, 0, None, True), (words.PONG,))))
    assert manager.allocate(VMConfig("y", ["sleep", "1000"])).state is VMState.RUNNING
    assert manager.get(vm).pid == vm.pid
    assert keeper() == pid


@pytest.mark.parametrize("verb", ["allocate", "remove", "reset"])
def test_65_nonsense_in_the_middle_of_a_verb(manager: VMManager, verb: str) -> None:
    vm = manager.allocate(VMConfig("x", TREE))
    next(iter(manager.follow(vm)))
    tag, pid = tag_of(vm.pid), keeper()
    assert tag is not None
    verbs: dict[str, Callable[[], Any]] = {
        "allocate": lambda: manager.allocate(VMConfig("y", TREE)),
        "remove": lambda: manager.remove(vm), "reset": lambda: manager.reset(vm),
    }  # fmt: skip
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(verbs[verb]())
        except ProcVMError as e:
            answers.append(e)

    os.kill(pid, signal.SIGSTOP)  # so that it does not answer first
    asking = threading.Thread(target=ask, daemon=True)
    seen = len(manager.history())
    asking.start()
    while len(manager.history()) == seen:
        pass  # until the verb is under way
    say(pid, b"\0")
    asking.join(60)
    (answer,) = answers
    if verb == "allocate":
        assert isinstance(answer, StartError)
        assert [one.name for one in manager.list()] == ["x"]
        assert manager.get("x").state is VMState.FAILED
    elif verb == "remove":
        assert answer.state is VMState.REMOVED
    else:
        assert (answer.state, answer.generation) == (VMState.RUNNING, 2)
    assert tagged(tag) == set()
    assert manager.allocate(VMConfig("z", ["sleep", "1000"])).state is VMState.RUNNING
