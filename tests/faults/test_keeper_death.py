"""The keeper is killed, stopped, terminated or talks nonsense: nothing is left, all is told."""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tags_seen import tag_of, tagged

from procvm import (
    ProcVMError,
    StopError,
    StopPolicy,
    SubprocessBackend,
    VMConfig,
    VMManager,
    VMState,
)  # fmt: skip
from procvm.backends.subprocess.keeper import _words as words

TREE = ["sh", "-c", "setsid env -i sleep 1000 & sleep 1000 & echo up; sleep 1000"]


@pytest.fixture
def manager() -> Iterator[VMManager]:
    with VMManager(SubprocessBackend("tree")) as made:
        yield made


def keeper() -> int:
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            for pid in (task / "children").read_text().split():
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"procvm-keeper"):
                    return int(pid)
    raise AssertionError("there is no keeper")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_65_a_keeper_that_dies_leaves_nothing(manager: VMManager, end: int) -> None:
    vm = manager.allocate(VMConfig("x", TREE))
    next(iter(manager.follow(vm)))
    tag = tag_of(vm.pid)
    assert tag is not None
    os.kill(keeper(), end)
    lost = manager.wait(vm, VMState.FAILED, timeout=60)
    assert "keeper" in lost.reason
    assert lost.exit is None or lost.exit.is_lost
    assert tagged(tag) == set()
    assert manager.reset(vm).state is VMState.RUNNING
    assert manager.allocate(VMConfig("y", ["sleep", "1000"])).state is VMState.RUNNING


def test_65_a_policy_restarts_what_a_keeper_lost(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", ["sleep", "1000"], restart="always"))
    os.kill(keeper(), signal.SIGKILL)
    again = manager.wait(vm, lambda now: now.generation == 2 and now.pid is not None, timeout=60)
    assert again.restarts == 1


def test_65_a_keeper_that_is_stopped_is_continued(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", ["sleep", "1000"]))
    os.kill(keeper(), signal.SIGSTOP)
    assert manager.allocate(VMConfig("y", ["sleep", "1000"])).state is VMState.RUNNING
    assert manager.remove(vm).state is VMState.REMOVED


def test_65_a_keeper_that_dies_in_the_middle_of_verbs(manager: VMManager) -> None:
    manager.allocate(VMConfig("first", ["sleep", "1000"]))
    for number in range(5):
        pid = keeper()
        killer = threading.Timer(0.0004 * number, os.kill, (pid, signal.SIGKILL))
        killer.start()
        try:
            vm = manager.allocate(VMConfig(f"vm{number}", ["sleep", "1000"]))
            manager.remove(vm)
        except ProcVMError:
            pass  # it may fail; it may not hang, or leave anything
        killer.join()
        manager.reset("first")
    assert [vm.name for vm in manager.list()] == ["first"]


GARBAGE = {
    "no data": b"\xff" * 40,
    "a number": marshal.dumps(7),
    "a tuple of numbers": marshal.dumps((1, 2)),
    "an unknown word": marshal.dumps((("strange", 1),)),
    "too few words": marshal.dumps(((words.STARTED,),)),
    "words of other kinds": marshal.dumps(((words.ENDED, "one", None),)),
    "another version": marshal.dumps(((words.HELLO, 99, {}),)),
    "cut off": marshal.dumps(((words.GONE, 1),))[:-3],
    "too long": marshal.dumps((b"x" * 200_000,)) + b"y" * 300_000,
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_65_a_keeper_that_answers_garbage_is_given_up(manager: VMManager, garbage: str) -> None:
    vm = manager.allocate(VMConfig("x", TREE))
    next(iter(manager.follow(vm)))
    tag = tag_of(vm.pid)
    assert tag is not None
    host = manager.backend._holder._keeper  # type: ignore[attr-defined]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
    exchanged = threading.Event()

    def exchange() -> None:
        """Put another socket in the keeper's place, while the loop is not looking."""
        reactor = manager.backend._reactor  # type: ignore[attr-defined]
        reactor.unregister(host._socket.fileno())
        os.dup2(ours.fileno(), host._socket.fileno(), inheritable=False)
        reactor.register(host._socket.fileno(), host._listen)
        exchanged.set()

    with ours, theirs:
        manager.backend.post(exchange)
        assert exchanged.wait(30)
        ours.setblocking(False)
        theirs.send(GARBAGE[garbage])
        lost = manager.wait(vm, VMState.FAILED, timeout=60)
    assert "keeper" in lost.reason
    assert tagged(tag) == set()
    assert manager.reset(vm).state is VMState.RUNNING


def test_41_50_what_the_keeper_cannot_kill_is_named_and_its_end_is_still_seen(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that no signal reaches: the keeper is started with senders that send nothing."""
    from procvm.backends.subprocess import _keeper

    boot = _keeper._BOOT.replace(
        'sys.modules["keeper._program"].run(',
        "import posix as p, _signal as s\n"
        "off = lambda *_: p.access('/proc/self/fd/0', p.F_OK) and None\n"
        "trees = sys.modules['keeper._trees']\n"
        "for name in ('send', 'send_group', 'send_to_child'): setattr(trees, name, off)\n"
        'sys.modules["keeper._program"].run(',
    )
    monkeypatch.setattr(_keeper, "_BOOT", boot)
    vm = manager.allocate(VMConfig("x", ["sleep", "1000"], stop=StopPolicy(grace=0.1)))
    assert vm.pid is not None
    began = time.monotonic()
    with pytest.raises(StopError) as caught:
        manager.remove(vm)
    assert time.monotonic() - began < 10
    assert [one.pid for one in caught.value.survivors] == [vm.pid]
    assert manager.get(vm).state is VMState.STOPPING
    assert not manager.health()
    os.kill(vm.pid, signal.SIGKILL)
    manager.wait(vm, VMState.REMOVED, timeout=30)
    assert manager.list() == []
