"""Shapes of process trees, each taken away whole; strangers live on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tags_seen import tag_of, tagged

from procvm import StopPolicy, SubprocessBackend, VMConfig, VMManager, VMState

PROGRAM = r"""
import os, signal, sys, time
shape, many = sys.argv[1], 4
held = os.open(sys.argv[2], os.O_WRONLY)  # by everything below, as long as it lives
os.set_inheritable(held, True)

def leaf(title=False):
    if shape == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1000)

def daemon(empty=False):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            if empty:
                os.execve("/bin/sleep", ["sleep", "1000"], {})
            leaf()
        os._exit(0)
    os.wait()

def not_dumpable():
    import ctypes
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)

def overwrite_environment():
    # As setproctitle does, and nginx and PostgreSQL: the kernel shows what is written there.
    with open("/proc/self/stat") as file:
        words = file.read().rpartition(")")[2].split()
    begin, end = int(words[47]), int(words[48])  # env_start, env_end: proc_pid_stat(5)
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(begin)
        memory.write(b"x" * (end - begin))

def hop(session):
    # Every process forks its successor and ends.
    while True:
        if os.fork():
            os._exit(0)
        if session:
            os.setsid()
        time.sleep(0.0002)

def bomb():
    while True:
        if os.fork() == 0:
            time.sleep(0.001)
            os._exit(0)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        time.sleep(0.0005)

for _ in range(many):
    if shape in ("fork", "deaf", "stopped", "leader"):
        if os.fork() == 0:
            leaf()
    elif shape == "setsid":
        if os.fork() == 0:
            os.setsid()
            leaf()
    elif shape in ("daemon", "leader-daemon"):
        daemon()
    elif shape in ("daemon-empty", "leader-daemon-empty"):
        daemon(empty=True)
    elif shape == "middle-dead":
        if os.fork() == 0:
            if os.fork() == 0:
                os.setsid()
                os.execve("/bin/sleep", ["sleep", "1000"], {})
            os._exit(0)
        os.wait()
    elif shape == "not-dumpable":
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            not_dumpable()
            leaf()
        os.wait()
    elif shape == "title":
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            overwrite_environment()
            leaf()
        os.wait()
    elif shape in ("hop", "hops"):
        if os.fork() == 0:
            hop(shape == "hops")
    elif shape == "bomb":
        if os.fork() == 0:
            bomb()
if shape.startswith("leader"):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])  # none is to come before the wait
print("up", flush=True)
if shape.startswith("leader"):
    signal.sigwait([signal.SIGUSR1])
    os._exit(0)
if shape == "stopped":
    os.killpg(0, signal.SIGSTOP)
leaf()
"""

SHAPES = [
    "fork", "setsid", "daemon", "daemon-empty", "middle-dead", "leader", "leader-daemon",
    "leader-daemon-empty", "stopped", "deaf", "not-dumpable", "title", "bomb", "hop", "hops",
]  # fmt: skip


@pytest.fixture
def manager() -> Iterator[VMManager]:
    with VMManager(SubprocessBackend("tree")) as made:
        if made.backend.capabilities.containment != "tree":
            pytest.skip(f"no keeper here: {made.backend.capabilities.degraded}")
        yield made


def is_held(pipe: int) -> bool:
    """Tell whether anything that inherited the other end lives; no scan could prove that."""
    try:
        return os.read(pipe, 1) != b""
    except BlockingIOError:
        return True


@pytest.fixture(params=[0, 200], ids=["alone", "in a crowd"])
def crowd(request: pytest.FixtureRequest) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Be so many other processes on the machine, of which none is to be touched."""
    others = [subprocess.Popen(["sleep", "1000"]) for _ in range(request.param)]
    yield others
    for other in others:
        other.kill()
    for other in others:
        other.wait()


@pytest.mark.parametrize("shape", SHAPES)
def test_39_40_nothing_of_a_tree_outlives_its_removal(
    manager: VMManager, crowd: list[subprocess.Popen[bytes]], tmp_path: Path, shape: str
) -> None:
    both = ["sh", "-c", "setsid env -i sleep 1000 & echo up; sleep 1000"]
    other = manager.allocate(VMConfig("other", both))
    next(iter(manager.follow(other)))
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    program = [sys.executable, "-S", "-c", PROGRAM, shape, str(fifo)]
    for _ in range(3):
        pipe = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        vm = manager.allocate(VMConfig("shape", program, stop=StopPolicy(grace=0.2)))
        tag = tag_of(vm.pid)
        assert tag is not None
        next(iter(manager.follow(vm)))  # it says so when its tree is complete
        assert is_held(pipe)
        if shape.startswith("leader"):
            manager.signal(vm, signal.SIGUSR1)
            assert manager.wait(vm).state is VMState.EXITED
        manager.remove(vm)
        assert not is_held(pipe), tagged(tag)
        os.close(pipe)
    assert [one.returncode for one in crowd if one.poll() is not None] == []
    other_tag = tag_of(other.pid)
    assert other_tag is not None
    assert len(tagged(other_tag)) >= 2
    manager.remove(other)
    assert tagged(other_tag) == set()


def test_a_program_that_uses_procvm_takes_its_own_with_it(manager: VMManager) -> None:
    program = """
from procvm import SubprocessBackend, VMConfig, VMManager
manager = VMManager(SubprocessBackend("tree"))
vm = manager.allocate(VMConfig("inner", ["sh", "-c", "setsid env -i sleep 1000 & sleep 1000"]))
print(vm.pid, flush=True)
import time
time.sleep(1000)
"""
    vm = manager.allocate(VMConfig("outer", [sys.executable, "-c", program]))
    inner = int(str(next(iter(manager.follow(vm)))))
    outer_tag, inner_tag = tag_of(vm.pid or 0), tag_of(inner)
    assert outer_tag is not None
    assert inner_tag is not None
    assert int(inner_tag) >> 16 == int(outer_tag) >> 16
    assert inner_tag != outer_tag
    manager.remove(vm)
    deadline = time.monotonic() + 10
    while (tagged(inner_tag) or tagged(outer_tag)) and time.monotonic() < deadline:
        time.sleep(0.005)  # the inner keeper takes its own away when its host has died
    assert tagged(inner_tag) == set()
    assert tagged(outer_tag) == set()


@pytest.mark.parametrize("own_group", [False, True])
def test_39_a_stranger_of_the_host_lives_on(manager: VMManager, *, own_group: bool) -> None:
    with subprocess.Popen(["sleep", "1000"], start_new_session=own_group) as stranger:
        manager.allocate(VMConfig("x", ["sh", "-c", "(sleep 1000 &) ; sleep 1000"]))
        manager.reset("x", grace=0.0)
        manager.remove("x", grace=0.0)
        manager.close()
        assert stranger.poll() is None
        stranger.kill()
