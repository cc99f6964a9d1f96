"""Probes that misbehave: they hang, drip, flood, leave children, raise what they like."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from procvm import (
    LogPolicy,
    ReadyTimeoutError,
    SubprocessBackend,
    VMConfig,
    VMManager,
    VMState,
    probes,
)  # fmt: skip

LONG = ["sleep", "1000"]


@pytest.fixture(params=["tree", "group"])
def manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    with VMManager(SubprocessBackend(request.param)) as made:
        yield made


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def words_of_failure(manager: VMManager, probe: probes.Probe) -> str:
    with pytest.raises(ReadyTimeoutError) as caught:
        manager.allocate(VMConfig("x", LONG, ready=probe))
    assert manager.list() == []
    return caught.value.why.partition("said last: ")[2]


# --- commands ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [
        "echo $$ >> {0}; sleep 1000",
        "sleep 1000 & echo $! >> {0}; sleep 1000",
        "setsid sh -c 'echo $$ >> {0}; sleep 1000' & sleep 1000",
        "trap '' TERM INT HUP; echo $$ >> {0}; while :; do sleep 1000; done",
        "mkfifo {0}.$$; setsid sh -c 'echo $$ >> {0}; echo > '{0}.$$'; exec sleep 1000' & "
        "read said < {0}.$$; exit 1",
    ],
    ids=["itself", "child", "session", "deaf", "left behind"],
)
def test_a_command_is_killed_at_its_time_with_its_children(
    manager: VMManager, tmp_path: Path, shape: str
) -> None:
    pids = tmp_path / "pids"
    command = ["sh", "-c", shape.format(pids)]
    said = words_of_failure(manager, probes.command(command, timeout=0.6))
    assert "did not end" in said or "exited with code 1" in said or not said
    found = [int(word) for word in pids.read_text().split()]
    assert found
    assert [pid for pid in found if is_alive(pid)] == []


def test_a_liveness_command_is_killed_at_its_time(manager: VMManager, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = ["sh", "-c", f"setsid sh -c 'echo $$ >> {pids}; exec sleep 1000' & sleep 1000"]
    alive = probes.command(command, interval=0.01, timeout=0.3, failures=2)
    vm = manager.allocate(VMConfig("x", LONG, alive=alive))
    vm = manager.wait(vm, lambda now: not now.healthy, timeout=60)
    assert "within 0.3 s" in vm.reason
    first = int(pids.read_text().split()[0])
    assert not is_alive(first)
    manager.remove(vm)
    assert [pid for pid in map(int, pids.read_text().split()) if is_alive(pid)] == []


@pytest.mark.parametrize(
    "script",
    [
        "echo first; echo no connection >&2; exit 3",
        "echo no connection >&2; echo bye; exit 3",
        "echo no connection; exit 3",
    ],
)
def test_what_a_command_said_last_is_told(manager: VMManager, script: str) -> None:
    said = words_of_failure(manager, probes.command(["sh", "-c", script], timeout=3.0))
    assert said == "sh exited with code 3: no connection"


def test_what_a_command_that_passes_said_is_told(manager: VMManager) -> None:
    ready = probes.command(["sh", "-c", "echo a warning >&2; echo accepting; echo more >&2"])
    assert manager.allocate(VMConfig("x", LONG, ready=ready)).reason.endswith("code 0: accepting")


def test_a_command_that_is_not_there_is_told(manager: VMManager) -> None:
    said = words_of_failure(manager, probes.command(["no-such-command"], timeout=0.3))
    assert "no program 'no-such-command'" in said


def test_a_command_that_floods_is_one_line(manager: VMManager) -> None:
    command = [
        "sh",
        "-c",
        "head -c 3000000 /dev/zero | tr '\\0' x; printf '\\n\\033[1mb\\n'; exit 1",
    ]
    said = words_of_failure(manager, probes.command(command, timeout=2.0))
    assert said.splitlines() == [said]
    assert said.isprintable()
    assert len(said) < 400


def test_a_command_runs_as_the_program_does(manager: VMManager, tmp_path: Path) -> None:
    test = ["sh", "-c", f'[ "$PWD $X" = "{tmp_path} y" ] && [ -z "$NOTIFY_SOCKET" ]']
    config = VMConfig("x", LONG, path=tmp_path, env={"X": "y"}, ready=probes.command(test))
    assert manager.allocate(config).state is VMState.RUNNING


def test_a_command_of_a_user_runs_as_that_user(manager: VMManager) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may run programs as somebody else")
    test = probes.command(["sh", "-c", "test $(id -u) = 65534"], timeout=5)
    assert manager.allocate(VMConfig("x", LONG, user=65534, ready=test)).state is VMState.RUNNING


def test_commands_in_flight_go_with_their_program(manager: VMManager, tmp_path: Path) -> None:
    """An end by itself, a reset, a removal: nothing of a probe is left by then."""
    pids = tmp_path / "pids"
    command = ["sh", "-c", f"setsid sh -c 'echo $$ >> {pids}; exec sleep 1000' & sleep 1000"]
    alive = probes.command(command, interval=0.01, timeout=100)

    def running(count: int) -> list[int]:
        while not pids.exists() or len(pids.read_text().split()) < count:
            time.sleep(0.01)  # a file has no event
        return [pid for pid in map(int, pids.read_text().split()) if is_alive(pid)]

    vm = manager.allocate(VMConfig("x", LONG, alive=alive))
    assert len(running(1)) == 1
    vm = manager.reset(vm)
    assert len(running(2)) == 1
    manager.remove(vm)
    assert running(2) == []


# --- functions --------------------------------------------------------------------------


def raising(error: BaseException) -> Any:
    def function() -> None:
        raise error

    return function


class Hostile(Exception):  # noqa: N818 - it has no other name
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt: "),
        (GeneratorExit("x"), "GeneratorExit: x"),
        (ValueError("a\nb\x1b"), "ValueError: a b\N{REPLACEMENT CHARACTER}"),
        (Hostile(), "Hostile"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_function_raises_is_a_failure_with_its_text(
    manager: VMManager, error: BaseException, words: str
) -> None:
    assert words_of_failure(manager, probes.call(raising(error), timeout=0.2)) == words.strip()


def test_words_without_end_are_cut(manager: VMManager) -> None:
    said = words_of_failure(manager, probes.call(raising(ValueError("x" * 10**7)), timeout=0.3))
    assert len(said) < 400


def test_a_function_that_never_returns_is_a_failure_in_time(manager: VMManager) -> None:
    free, calls = threading.Event(), []

    def hang() -> bool:
        calls.append(threading.get_ident())
        return free.wait(60)

    alive = probes.call(hang, interval=0.01, timeout=0.1, failures=3)
    vm = manager.allocate(VMConfig("x", LONG, alive=alive))
    vm = manager.wait(vm, lambda now: not now.healthy, timeout=60)
    assert "did not answer within 0.1 s" in vm.reason
    assert len(calls) == 1, "one call at a time"
    free.set()
    assert manager.wait(vm, lambda now: now.healthy, timeout=60)
    manager.remove(vm)


# --- servers ----------------------------------------------------------------------------


class Server:
    """A socket that answers each connection with bytes, one at a time, for ever."""

    def __init__(self, answer: bytes, pause: float) -> None:
        self.answer, self.pause = answer, pause
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.run)
        self.over = threading.Event()
        self.thread.start()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                for number in range(10**6):
                    at = number % len(self.answer)
                    if self.over.is_set() or not self.send(connection, self.answer[at : at + 1]):
                        break
                    self.over.wait(self.pause)

    def send(self, connection: socket.socket, data: bytes) -> bool:
        try:
            connection.sendall(data)
        except OSError:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"x", b"HTTP/1.1 200 OK\r\nA: "],
)
def test_an_answer_that_drips_does_not_outlast_the_time(manager: VMManager, answer: bytes) -> None:
    with Server(answer, 0.02) as server:
        alive = probes.http(
            f"http://127.0.0.1:{server.port}/", interval=0.01, timeout=0.2, failures=1
        )
        began = time.monotonic()
        vm = manager.allocate(VMConfig("x", LONG, alive=alive))
        vm = manager.wait(vm, lambda now: not now.healthy, timeout=60)
        assert time.monotonic() - began < 5
        manager.remove(vm)
        asking = [t for t in threading.enumerate() if t.name == "procvm-probe"]
        for thread in asking:
            thread.join(5)
            assert not thread.is_alive()


def test_an_http_answer_is_judged_by_its_status(manager: VMManager) -> None:
    with Server(b"HTTP/1.1 204 No Content\r\n\r\n", 0.0) as server:
        url = f"http://127.0.0.1:{server.port}/a?b#c"
        good = probes.http(url, status=204)
        vm = manager.allocate(VMConfig("x", LONG, ready=good))
        assert vm.reason == "ready: GET /a?b answered 204"
        manager.remove(vm)
        assert words_of_failure(manager, probes.http(url, status=200, timeout=0.3)).endswith("204")


# --- several ----------------------------------------------------------------------------


def test_equal_probes_are_each_asked(manager: VMManager) -> None:
    """Two that compare equal: one that failed is not forgotten when the other has passed."""
    answers = iter([False, True, True, True, True])

    class Same:
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Same)

        def __hash__(self) -> int:
            return 1

        def __call__(self) -> bool:
            return next(answers)

    both = probes.all_of(probes.call(Same()), probes.call(Same()), timeout=5)
    assert both.probes[0] == both.probes[1]
    vm = manager.allocate(VMConfig("x", LONG, ready=both))
    assert vm.reason == "ready: the function returned True; the function returned True"
    manager.remove(vm)


@pytest.mark.parametrize("several", [probes.all_of, probes.any_of])
def test_the_same_probe_twice_is_one(manager: VMManager, several: Any) -> None:
    one = probes.file("/")
    log = probes.log("ready")
    ready = several(one, one, several(one, log), log)
    says = ["sh", "-c", "echo ready; sleep 1000"]
    vm = manager.allocate(VMConfig("x", says, ready=ready, alive=several(one, one, interval=0.01)))
    assert vm.state is VMState.RUNNING
    manager.remove(vm)


def test_a_probe_that_hangs_does_not_keep_the_others_waiting(manager: VMManager) -> None:
    free = threading.Event()
    hang = probes.call(lambda: free.wait(60))
    began = time.monotonic()
    ready = probes.any_of(hang, probes.file("/"))
    assert manager.allocate(VMConfig("x", LONG, ready=ready)).state is VMState.RUNNING
    assert time.monotonic() - began < 5
    free.set()
    manager.remove("x")


# --- a forked child of the host -----------------------------------------------------------


def test_a_forked_child_holds_nothing_of_the_host(manager: VMManager, tmp_path: Path) -> None:
    before = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}  # noqa: PTH208
    say = "import os, socket, time\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
    say += "s.sendto(b'READY=1', '\\0' + os.environ['NOTIFY_SOCKET'][1:])\n"
    say += "print('line', flush=True); time.sleep(1000)"
    config = VMConfig(
        "x", [sys.executable, "-c", say], log=LogPolicy(file=str(tmp_path / "log")),
        ready=probes.all_of(probes.notify(), probes.log("line")),
        alive=probes.command(LONG, interval=0.01, timeout=100),
    )  # fmt: skip
    manager.allocate(config)
    while not [p for p in Path("/proc").iterdir() if probe_of(p)]:
        time.sleep(0.01)  # the command of the probe has no event
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            fds = os.listdir("/proc/self/fd")  # noqa: PTH208
            now = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in fds}
            os.write(2, repr(now - before).encode())
            code = 0 if {n for n in now - before if not n.startswith("/proc")} == set() else 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    manager.remove("x")


def probe_of(entry: Path) -> bool:
    try:
        return b".probe-" in (entry / "environ").read_bytes()
    except OSError:
        return False


# --- no descriptor is left ----------------------------------------------------------------

PROGRAM = """
import os, resource, sys
from procvm import ResourceError, SubprocessBackend, VMConfig, VMManager, probes

def count():
    return len(os.listdir("/proc/self/fd"))

say = (
    "import os, socket, time\\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\\n"
    "s.sendto(b'READY=1', '\\\\0' + os.environ['NOTIFY_SOCKET'][1:])\\ntime.sleep(1000)"
)
config = VMConfig("x", [sys.executable, "-S", "-c", say], ready=probes.notify(timeout=20))
with VMManager(SubprocessBackend(sys.argv[1])) as manager:
    manager.remove(manager.allocate(config))
    before = count()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    started = 0
    for spare in range(1, 9):
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        for fd in taken[:spare]:
            os.close(fd)
        try:
            manager.allocate(config)
        except ResourceError as error:
            assert error.errno == 24, error
        else:
            started += 1
            manager.remove("x")
        for fd in taken[spare:]:
            os.close(fd)
        assert manager.list() == []
    assert started, "with some to spare it starts"
    assert count() == before, (count(), before)
"""


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_21_a_notify_probe_without_descriptors_fails_alone(containment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, containment],
        timeout=100, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_what_takes_long_to_ask_as_ready_is_asked_less_often(manager: VMManager) -> None:
    asked: list[float] = []

    def costly() -> bool:
        asked.append(time.monotonic())
        time.sleep(0.02)
        return False

    with pytest.raises(ReadyTimeoutError):
        manager.allocate(VMConfig("x", LONG, ready=probes.call(costly, timeout=1)))
    assert 1 < len(asked) < 14  # a try of 20 ms and a rest of 80
