"""Programs that write without end: their pipes grow for as long as they do, and few at once."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from procvm import LogPolicy, SubprocessBackend, VMConfig, VMManager, VMState
from procvm.backends.subprocess._floods import Floods
from procvm.backends.subprocess._reactor import ReactorThread

USUAL, LARGE = 2**16, 2**20


@contextmanager
def busy() -> Iterator[None]:
    """A thread of the host that computes, so that every read finds a full pipe."""
    over = threading.Event()

    def compute() -> None:
        while not over.is_set():
            sum(range(1000))

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # a pipe's size has no event


def size_of(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_a_pipe_grows_with_a_flood_and_is_given_back(containment: str) -> None:
    backend = SubprocessBackend(containment)  # type: ignore[arg-type] # a word
    with VMManager(backend) as manager:
        vm = manager.allocate(VMConfig("x", ["yes"], log=LogPolicy(keep=100_000)))
        (running,) = backend._running.values()
        pipe, quiet = running.pipes["stdout"], running.pipes["stderr"]
        with busy():
            until(lambda: size_of(pipe) == LARGE)
        assert size_of(quiet) == USUAL
        manager.signal(vm, signal.SIGSTOP)
        until(lambda: size_of(pipe) == USUAL)
        assert Floods._lent == 0
        assert sum(len(line.text) + 1 for line in manager.logs(vm)) <= 100_001
        manager.signal(vm, signal.SIGCONT)
        with busy():
            until(lambda: size_of(pipe) == LARGE)
        assert manager.remove(vm).state is VMState.REMOVED
        assert Floods._lent == 0


@pytest.fixture
def pipes() -> Iterator[list[tuple[int, int]]]:
    made = [os.pipe() for _ in range(20)]
    yield made
    for pair in made:
        for fd in pair:
            os.close(fd)


@pytest.fixture
def reactor() -> Iterator[ReactorThread]:
    made = ReactorThread()
    yield made
    made.close()


def in_loop(reactor: ReactorThread, call: Callable[[], None]) -> None:
    done = threading.Event()
    reactor.post(call)
    reactor.post(done.set)
    assert done.wait(30)


def see_full(floods: Floods, fd: int) -> None:
    for _ in range(16):
        floods.saw(fd, USUAL)


def test_sixteen_at_once_and_each_comes_back(
    reactor: ReactorThread, pipes: list[tuple[int, int]]
) -> None:
    floods, other = Floods(reactor), Floods(reactor)
    full = pipes[0][1]
    os.set_blocking(full, False)

    def begin() -> None:
        for number, (read, _) in enumerate(pipes):
            see_full(floods if number % 2 else other, read)
        os.write(full, b"x" * (USUAL + 1))

    in_loop(reactor, begin)
    assert [size_of(read) for read, _ in pipes] == [LARGE] * 16 + [USUAL] * 4
    until(lambda: Floods._lent == 1)
    assert size_of(full) == LARGE, "what is in it would not fit"
    os.read(pipes[0][0], LARGE)
    until(lambda: Floods._lent == 0)
    assert {size_of(read) for read, _ in pipes} == {USUAL}
    in_loop(reactor, lambda: see_full(floods, pipes[1][0]))
    assert size_of(pipes[1][0]) == LARGE
    in_loop(reactor, lambda: floods.forget(pipes[1][0]))
    assert Floods._lent == 0


def test_what_is_read_now_and_then_is_no_flood(
    reactor: ReactorThread, pipes: list[tuple[int, int]]
) -> None:
    floods = Floods(reactor)
    read = pipes[0][0]

    def often() -> None:
        for _ in range(1000):
            floods.saw(read, 4000)
            floods.saw(read, USUAL - 1)
        for _ in range(15):
            floods.saw(read, USUAL)

    in_loop(reactor, often)
    assert size_of(read) == USUAL


USED_UP = """
import fcntl, os, subprocess, sys, threading, time
from procvm import SubprocessBackend, VMConfig, VMManager
from procvm.backends.subprocess._floods import Floods
if os.getuid() == 0:
    os.chdir("/")
    os.setgroups([])
    os.setgid(54321)
    os.setuid(54321)  # so that nobody else's pipes are touched
pipes = []
try:
    while len(pipes) < 2000:
        pipes.append(os.pipe())
        fcntl.fcntl(pipes[-1][0], fcntl.F_SETPIPE_SZ, 2**20)
except OSError:
    pass
else:
    sys.exit(77)
over = threading.Event()
def compute():
    while not over.is_set():
        sum(range(1000))
with VMManager(SubprocessBackend("group")) as manager:
    threading.Thread(target=compute).start()
    words = ["head", "-c", "5000000", "/dev/zero"]
    vm = manager.allocate(VMConfig("x", words, inherit_env=["PATH"]))
    vm = manager.wait(vm)
    over.set()
    assert vm.exit.code == 0, vm
    assert Floods._lent == 0
    assert [e for e in manager.history() if e.kind == "warning"] == []
"""


def test_pages_that_are_used_up_hurt_nobody() -> None:
    done = subprocess.run(
        [sys.executable, "-c", USED_UP], timeout=100, capture_output=True, text=True, check=False
    )
    if done.returncode == 77:
        pytest.skip("a user's pipe pages are not bounded here")
    assert done.returncode == 0, done.stderr
