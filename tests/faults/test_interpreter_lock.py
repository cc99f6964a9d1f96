"""Beside a thread that computes: a verb gives the interpreter lock away when it waits, no oftener.

Each system call of CPython's gives it away, and beside a thread that computes it may come back a
switch interval later. So the calls of a verb are counted, by the profiler of both its threads.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from procvm import SubprocessBackend, VMConfig, VMManager
from procvm.backends.subprocess._calls import CALLS, Calls, OrdinaryCalls

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")

COUNTS = """
import os, shutil, sys, threading
calls = []
SYSTEM = {"posix", "select", "fcntl", "epoll", "socket", "lock", "FileIO", "BufferedReader"}
KEPT = {  # these keep the lock, as CPython's source says, or never leave the process
    "getpid", "fspath", "fileno", "getuid", "geteuid", "getegid", "getgroups", "getpriority",
    "sched_getaffinity", "umask", "release", "__exit__", "__enter__",
}

def look(frame, event, call):
    if event == "c_call":
        owner = getattr(call, "__self__", None)
        kind = owner.__name__ if isinstance(owner, type(sys)) else type(owner).__name__
        if kind in SYSTEM and call.__name__ not in KEPT:
            calls.append(f"{kind}.{call.__name__}")

threading.setprofile(look)
from procvm import SubprocessBackend, VMConfig, VMManager
WAITS = {"epoll.poll", "poll.poll", "lock.acquire"}
least = {}
with VMManager(SubprocessBackend("tree")) as manager:
    folders = "/nowhere:" * 20 + os.path.dirname(shutil.which("sleep")) + ":" + os.environ["PATH"]
    word = "sleep" if sys.argv[1] == "by name" else shutil.which("sleep")
    config = VMConfig("vm", [word, "1000"], env={"PATH": folders})
    manager.remove(manager.allocate(config))
    sys.setprofile(look)
    for _ in range(5):
        for verb, call in (
            ("allocate", lambda: manager.allocate(config)), ("reset", lambda: manager.reset("vm")),
            ("remove", lambda: manager.remove("vm")),
        ):
            calls.clear()
            call()
            others = sorted(call for call in calls.copy() if call not in WAITS)
            least[verb] = min(least.get(verb, others), others, key=len)
    sys.setprofile(None)
assert "epoll.poll" in calls, "nothing was seen"
print(least)
"""


@pytest.mark.parametrize("program", ["by name", "by path"])
def test_a_verb_gives_the_lock_away_to_wait_alone(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COUNTS, program],
        timeout=100, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = {"allocate": ["posix.getcwd", "posix.stat"], "reset": ["posix.stat"], "remove": []}
    assert done.stdout.strip() == str(expected)


WITHOUT = """
import sys
sys.modules["ctypes"] = None
from procvm import SubprocessBackend, VMConfig, VMManager
from procvm import SubprocessBackend, VMConfig, VMManager
from procvm.backends.subprocess._calls import CALLS, OrdinaryCalls
assert isinstance(CALLS, OrdinaryCalls)
with VMManager(SubprocessBackend(sys.argv[1])) as manager:
    manager.allocate(VMConfig("vm", ["sh", "-c", "echo up; exec sleep 1000"]))
    assert str(next(manager.follow("vm"))) == "up"
    assert manager.reset("vm").generation == 2
    assert manager.remove("vm").state == "removed"
"""


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_all_works_without_ctypes(containment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, containment],
        timeout=100, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=["kept", "ordinary"])
def calls(request: pytest.FixtureRequest) -> Calls:
    if request.param == "ordinary":
        return OrdinaryCalls()
    assert not isinstance(CALLS, OrdinaryCalls), "this Python has no ctypes"
    return CALLS


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


@pytest.mark.parametrize("number", [0, 1, 2, 3, 250])
def test_a_message_brings_its_descriptors_and_none_is_inherited(
    calls: Calls, pair: Pair, number: int
) -> None:
    ours, theirs = pair
    held = os.open(os.devnull, os.O_RDONLY)
    mailbox = calls.mailbox(65536)
    socket.send_fds(theirs, [b"x" * 50_000], [held] * number)
    data, fds, flags = mailbox.receive(ours)
    try:
        assert (bytes(data), len(fds)) == (b"x" * 50_000, number)
        assert not flags & socket.MSG_TRUNC
        assert all(os.path.samestat(os.fstat(fd), os.fstat(held)) for fd in fds)
        assert not any(map(os.get_inheritable, fds))
    finally:
        for fd in (held, *fds):
            os.close(fd)
    theirs.send(b"and one more")
    assert bytes(mailbox.receive(ours)[0]) == b"and one more"


def test_a_message_that_is_too_long_says_so(calls: Calls, pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b"12345678")
    data, _, flags = calls.mailbox(4).receive(ours)
    assert bytes(data) == b"1234"
    assert flags & socket.MSG_TRUNC


def fill(calls: Calls, sock: socket.socket) -> None:
    while True:
        calls.send(sock, bytes(1000))


def test_nothing_there_and_nobody_left(calls: Calls, pair: Pair) -> None:
    ours, theirs = pair
    mailbox = calls.mailbox(64)
    with pytest.raises(BlockingIOError):
        mailbox.receive(ours)
    with pytest.raises(BlockingIOError):
        fill(calls, ours)
    theirs.close()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        calls.send(ours, b"x")
    assert len(mailbox.receive(ours)[0]) == 0


def test_a_pipe_says_whether_there_is_something_and_its_end_alone(calls: Calls) -> None:
    source, sink = os.pipe()
    assert calls.look(source) == 0
    os.write(sink, b"x")
    assert calls.look(source) == select.POLLIN
    os.close(sink)
    assert calls.look(source) == select.POLLIN | select.POLLHUP
    assert os.read(source, 10) == b"x"
    assert calls.look(source) == select.POLLHUP
    calls.close(source)
    with pytest.raises(OSError, match="Bad file descriptor"):
        calls.close(source)


def test_what_is_watched_is_seen_until_it_is_not(calls: Calls) -> None:
    event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    source, sink = os.pipe()
    with select.epoll() as epoll:
        glance = calls.glance(epoll)
        calls.watch(epoll, event)
        calls.watch(epoll, source)
        assert (glance(), epoll.poll(0)) == ([], [])
        calls.wake(event)
        os.write(sink, b"x")
        found = dict(epoll.poll(0))
        assert found.keys() == {event, source}
        assert set(glance()) in ({event, source}, set())
        calls.unwatch(epoll, source)
        assert dict(epoll.poll(0)).keys() == {event}
        with pytest.raises(FileNotFoundError):
            calls.unwatch(epoll, source)
    for fd in (event, source, sink):
        os.close(fd)


BLOCKS = """
import os, socket, sys, time
ours, theirs = socket.socketpair()
if os.fork() == 0:
    ours.close()
    while os.getppid() != 1 and not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    theirs.send(b"x")
    os._exit(0)
theirs.close()
os.write(1, b"before\\n")
os.splice(ours.fileno(), 1, 4096)  # holds the mutex of the pipe until there is something
time.sleep(1000)
"""


@pytest.mark.skipif(not hasattr(os, "splice"), reason="splice is Linux's")
@pytest.mark.parametrize("containment", ["tree", "group"])
def test_a_program_that_holds_its_pipe_stops_no_thread_of_the_host(
    containment: str, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    command = [sys.executable, "-c", BLOCKS, str(go)]
    with VMManager(SubprocessBackend(containment)) as manager:  # type: ignore[arg-type]
        manager.allocate(VMConfig("x", command))
        line = threading.Thread(target=lambda: next(manager.follow("x")), daemon=True)
        line.start()  # this may have to wait, for the loop may
        worst, last, end = 0.0, time.monotonic(), time.monotonic() + 1.0
        while last < end:  # in Python alone: that it runs is what is asked
            now = time.monotonic()
            worst, last = max(worst, now - last), now
        go.touch()
        line.join(30)
        assert not line.is_alive()
        manager.remove("x")
    assert worst < 0.9, "this thread stood still"
