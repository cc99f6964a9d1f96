"""A program that holds its pipe in the kernel, where a read waits although it is told not to.

splice(2) from a silent socket into a pipe keeps the pipe's mutex until there is something to move
(fs/splice.c, splice_file_to_pipe); reading, closing and resizing it wait for that, and no signal
interrupts them.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from looking import until

from procvm import LogPolicy, SubprocessBackend, VMConfig, VMManager, VMState
from procvm.backends.subprocess import _logfile, _pipe, _readers
from procvm.backends.subprocess._floods import Flood
from procvm.backends.subprocess._lease import LoopLease
from procvm.backends.subprocess._reactor import ReactorThread
from procvm.backends.subprocess._readers import Readers

pytestmark = pytest.mark.skipif(not hasattr(os, "splice"), reason="splice is Linux's")

HOLDS = """
import os, socket, sys, threading, time
held, go, leaves = sys.argv[1:]
ours, theirs = socket.socketpair()
os.write(1, b"before\\n")
if leaves and os.fork():
    while not os.path.exists(held):
        time.sleep(0.001)
    os._exit(3)
thread = threading.Thread(target=os.splice, args=(ours.fileno(), 1, 4096))
thread.start()
while True:
    with open(f"/proc/self/task/{thread.native_id}/syscall") as file:
        words = file.read().split()
    if words[1:4:2] == [hex(ours.fileno()), "0x1"]:  # it sits in splice(ours, NULL, 1, ...)
        break
    time.sleep(0.001)
open(held, "w").close()
while not os.path.exists(go):
    time.sleep(0.001)
theirs.send(b"after\\n")
thread.join()
"""


class Held:
    """The files by which the program, the test and the reader know of each other."""

    def __init__(self, folder: Path) -> None:
        self.held, self.go = folder / "held", folder / "go"

    def config(self, *, leaves: bool = False) -> VMConfig:
        words = [str(self.held), str(self.go), "yes" if leaves else ""]
        return VMConfig("holds", [sys.executable, "-c", HOLDS, *words])

    def wait(self) -> None:
        until(self.held.exists)


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Held:
    """Have the pipes read when one of them is held, no earlier."""
    it = Held(tmp_path)
    read = _pipe.Pipe._read

    def late(pipe: _pipe.Pipe) -> bytes | None:
        it.wait()
        return read(pipe)

    monkeypatch.setattr(_pipe.Pipe, "_read", late)
    return it


@pytest.fixture(params=["tree", "group"])
def manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    with VMManager(SubprocessBackend(request.param)) as made:
        yield made
    assert not [t for t in threading.enumerate() if t.name.startswith("procvm")]


def test_no_verb_waits_for_it(manager: VMManager, held: Held) -> None:
    manager.allocate(held.config())
    held.wait()
    manager.allocate(VMConfig("talks", ["sh", "-c", "echo up; exec sleep 1000"]))
    assert str(next(manager.follow("talks"))) == "up"
    assert manager.health().status == "good"
    assert manager.logs("holds") == []
    assert manager.reset("talks").generation == 2
    assert manager.remove("holds").exit is not None
    assert manager.remove("talks").state is VMState.REMOVED


def test_what_it_wrote_is_told_once_it_lets_go(manager: VMManager, held: Held) -> None:
    manager.allocate(held.config())
    held.wait()
    held.go.touch()
    assert [str(line) for line in manager.follow("holds")] == ["before", "after"]
    assert manager.wait("holds").exit.code == 0  # type: ignore[union-attr]


def test_an_end_is_told_while_a_child_holds_it(manager: VMManager, held: Held) -> None:
    manager.allocate(held.config(leaves=True))
    ended = manager.wait("holds", timeout=60)
    assert ended.exit is not None
    assert ended.exit.code == 3


@pytest.mark.parametrize("is_slow", [False, True])
def test_no_verb_waits_for_a_log_on_a_disk_that_hangs(
    manager: VMManager,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_slow: bool,
) -> None:
    writes, go = threading.Event(), threading.Event()
    append = _logfile.LogFile._append

    def hangs(file: _logfile.LogFile, data: bytes) -> None:
        writes.set()
        assert go.wait(60)
        time.sleep(0.1 * is_slow)  # not so long that an end gives up
        append(file, data)

    monkeypatch.setattr(_logfile.LogFile, "_append", hangs)
    path = tmp_path / "x.log"
    words = ["sh", "-c", "seq 1 9000; echo last >&2"]
    vm = manager.allocate(VMConfig("x", words, log=LogPolicy(file=str(path))))
    assert writes.wait(60)
    manager.allocate(VMConfig("talks", ["sh", "-c", "echo up; exec sleep 1000"]))
    assert str(next(manager.follow("talks"))) == "up"
    if is_slow:
        go.set()
    assert manager.wait(vm).exit is not None
    told = [[str(x) for x in manager.logs(vm, stream=one)] for one in ("stdout", "stderr")]
    assert told == [[str(n) for n in range(1, 9001)], ["last"]]
    assert manager.remove(vm).state is VMState.REMOVED
    go.set()
    written = sorted("".join(f"{line}\n" for line in told[0] + told[1]))
    until(lambda: sorted(path.read_text()) == written)  # the streams may meet within a line


KILLED = """
import sys, time
from pathlib import Path
from procvm import SubprocessBackend, VMConfig, VMManager
from procvm.backends.subprocess import _pipe
read = _pipe.Pipe._read
def late(pipe):
    while not Path(sys.argv[3]).exists():
        time.sleep(0.001)
    Path(sys.argv[2]).touch()
    return read(pipe)
_pipe.Pipe._read = late
manager = VMManager(SubprocessBackend(sys.argv[1]))
vm = manager.allocate(VMConfig("holds", sys.argv[4:]))
print(vm.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_a_host_that_is_killed_while_it_waits_for_it_leaves_nothing(
    containment: str, held: Held, tmp_path: Path
) -> None:
    reads = tmp_path / "reads"
    words = [containment, str(reads), str(held.held), *held.config().command]
    with subprocess.Popen([sys.executable, "-c", KILLED, *words], stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        vm = psutil.Process(int(host.stdout.readline()))
        until(reads.exists)
        until(lambda: "D" in states(host.pid))
        host.kill()
        gone, _ = psutil.wait_procs([vm], timeout=30)
        if not gone:
            vm.kill()
        host.wait()
    assert gone


def states(pid: int) -> set[str]:
    """Return the states of its threads: D is a wait that nothing interrupts."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks}


@pytest.mark.skipif(not Flood.is_possible, reason="a pipe's size is fixed here")
def test_all_of_a_large_pipe_is_told_at_an_end_though_as_much_was_being_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, (out, to_out), (err, to_err) = LoopLease(), os.pipe(), os.pipe()
    told: list[bytes] = []
    told_by_then: list[bytes] = []
    reads, go, done = threading.Event(), threading.Event(), threading.Event()

    def late(pipe: _pipe.Pipe) -> bytes | None:
        data = read(pipe)
        reads.set()
        assert go.wait(60)
        return data

    read = _pipe.Pipe._read
    monkeypatch.setattr(_pipe.Pipe, "_read", late)
    pipes = _pipe.Pipes(loop, lambda _, data: told.append(data))
    for fd in (out, err):
        os.set_blocking(fd, False)
    fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, 2**20)

    def drained() -> None:
        told_by_then.extend(told)
        done.set()

    def begin() -> None:
        pipes.open(out, err)
        pipes._pipes[0]._flood.size = 2**20
        pipes.watch()

    assert os.write(to_out, b"x" * 2**20) == 2**20
    loop.run(lambda: None)
    loop.post(begin)
    assert reads.wait(60)
    assert os.write(to_out, b"y" * 2**20) == 2**20
    os.close(to_out)
    os.close(to_err)
    loop.post(lambda: pipes.drain(drained))
    go.set()
    assert done.wait(60)
    assert b"".join(told_by_then) == b"x" * 2**20 + b"y" * 2**20
    loop.run(pipes.close)
    loop.close()


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


def test_there_is_always_a_reader_more_than_are_stuck(reactor: ReactorThread) -> None:
    readers = Readers(reactor)
    go, told = threading.Event(), threading.Event()
    answers: list[object] = []

    def ask() -> None:
        for _ in range(5):
            readers.ask(lambda: go.wait(30), answers.append)
        readers.ask(lambda: "free", lambda _: told.set())

    in_loop(reactor, ask)
    assert told.wait(30)
    assert answers == []
    go.set()
    until(lambda: answers == [True] * 5)
    in_loop(reactor, lambda: readers.ask(lambda: "one", answers.append))
    until(lambda: answers[5:] == ["one"])
    readers.close()
    assert not any(thread.is_alive() for thread in readers._threads)


def test_a_job_that_raises_is_answered_and_the_next_is_done(reactor: ReactorThread) -> None:
    readers = Readers(reactor)
    answers: list[object] = []

    def fails() -> object:
        raise MemoryError

    in_loop(reactor, lambda: readers.ask(fails, answers.append))
    in_loop(reactor, lambda: readers.ask(lambda: 1, answers.append))
    until(lambda: answers == [None, 1])
    readers.close()


def test_where_there_is_no_thread_the_loop_reads(
    reactor: ReactorThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_loop(reactor, lambda: None)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    readers = Readers(reactor)
    answers: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        in_loop(reactor, lambda: readers.ask(lambda: 1, answers.append))
        until(lambda: answers == [1])
    in_loop(reactor, lambda: readers.ask(threading.current_thread, answers.append))
    until(lambda: len(answers) == 2)
    assert isinstance(answers[1], threading.Thread)
    assert answers[1].name == "procvm-reader"
    readers.close()


def test_one_that_is_begun_at_the_end_ends_as_well(
    reactor: ReactorThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_readers, "_PATIENCE", 0.0)
    readers = Readers(reactor)
    go = threading.Event()
    answers: list[object] = []

    def ask() -> None:
        readers.ask(lambda: go.wait(30), answers.append)
        readers.ask(lambda: "waits", answers.append)

    in_loop(reactor, ask)
    readers.close()
    in_loop(reactor, lambda: readers._judge(0))
    until(lambda: answers == ["waits"])
    go.set()
    for thread in readers._threads:
        thread.join(30)
    assert [thread.is_alive() for thread in readers._threads] == [False, False]


def test_an_end_does_not_wait_long_for_one_that_is_stuck(
    reactor: ReactorThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_readers, "_PATIENCE", 0.01)
    readers = Readers(reactor)
    go = threading.Event()
    answers: list[object] = []
    in_loop(reactor, lambda: readers.ask(lambda: go.wait(30), answers.append))
    readers.close()
    (stuck,) = readers._threads
    assert stuck.is_alive()
    go.set()
    stuck.join(30)
    assert not stuck.is_alive()
    until(lambda: answers == [True])
