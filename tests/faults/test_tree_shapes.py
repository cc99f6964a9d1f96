"""Shapes of process trees, each taken away whole; strangers live on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from procvm import StopPolicy, SubprocessBackend, VMConfig, VMManager

PROGRAM = r"""
import os, signal, sys, time
shape, many = sys.argv[1], 4

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
    elif shape in ("hop", "hops"):
        if os.fork() == 0:
            hop(shape == "hops")
    elif shape == "bomb":
        if os.fork() == 0:
            bomb()
print("up", flush=True)
if shape.startswith("leader"):
    os._exit(0)
if shape == "stopped":
    os.killpg(0, signal.SIGSTOP)
leaf()
"""

SHAPES = [
    "fork", "setsid", "daemon", "daemon-empty", "middle-dead", "leader", "leader-daemon",
    "leader-daemon-empty", "stopped", "deaf", "not-dumpable", "bomb", "hop", "hops",
]  # fmt: skip


@pytest.fixture
def manager() -> Iterator[VMManager]:
    with VMManager(SubprocessBackend("tree")) as made:
        if made.backend.capabilities.containment != "tree":
            pytest.skip(f"no keeper here: {made.backend.capabilities.degraded}")
        yield made


def tag_of(pid: int | str) -> str | None:
    try:
        limits = Path(f"/proc/{pid}/limits").read_text()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, UnicodeDecodeError):
        return None
    return None if state in "ZX" else limits.partition("Max file locks")[2].split(None, 1)[0]


def tagged(tag: str) -> set[int]:
    return {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and tag_of(entry.name) == tag
    }


def shape_config(name: str, shape: str) -> VMConfig:
    # The program waits for a line of the log, by which its tree is complete.
    return VMConfig(name, [sys.executable, "-S", "-c", PROGRAM, shape], stop=StopPolicy(grace=0.2))


@pytest.mark.parametrize("shape", SHAPES)
def test_39_40_nothing_of_a_tree_outlives_its_removal(manager: VMManager, shape: str) -> None:
    other = manager.allocate(
        VMConfig("other", ["sh", "-c", "setsid env -i sleep 1000 & sleep 1000"])
    )
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        for _ in range(3):
            vm = manager.allocate(shape_config("shape", shape))
            tag = tag_of(vm.pid) if vm.pid else None
            next(iter(manager.follow(vm)))
            tree = tagged(tag) if tag else set()
            manager.remove(vm)
            if tag:
                assert tagged(tag) == set(), tree
        assert stranger.poll() is None
        stranger.kill()
    other_tag = tag_of(other.pid or 0)
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
