"""Programs that end, hide, write, or cannot be ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from procvm import (
    Backend,
    FakeBackend,
    FakeProgram,
    LogPolicy,
    ProgramNotFoundError,
    StartError,
    StopError,
    StopPolicy,
    SubprocessBackend,
    VMConfig,
    VMManager,
    VMState,
)  # fmt: skip
from procvm.backends import Key
from procvm.facts import Survivor

LONG = ["sleep", "1000"]
KINDS = ["tree", "group", "fake"]


@pytest.fixture(params=["tree", "group"])
def manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    with VMManager(SubprocessBackend(request.param)) as made:
        yield made


def test_34_an_end_during_a_removal_keeps_its_exit(manager: VMManager) -> None:
    for number in range(30):
        vm = manager.allocate(VMConfig("x", ["sleep", f"{0.0005 * number}"]))
        gone = manager.remove(vm)
        assert gone.state is VMState.REMOVED
        assert gone.exit is not None
        assert (gone.exit.code, gone.exit.signal) in {(0, None), (None, signal.SIGTERM)}


@pytest.mark.parametrize("kind", KINDS)
def test_35_what_ignores_its_stop_is_killed_after_the_grace(kind: str) -> None:
    fake = FakeBackend()
    fake.program("x", FakeProgram(ignores=frozenset({signal.SIGTERM})))
    backend: Backend = fake if kind == "fake" else SubprocessBackend(kind)  # type: ignore[arg-type]
    with VMManager(backend) as manager:
        words = "trap '' TERM; echo up; while :; do sleep 1000; done"
        vm = manager.allocate(VMConfig("x", ["sh", "-c", words], stop=StopPolicy(grace=0.3)))
        if kind != "fake":
            next(iter(manager.follow(vm)))
        began = backend.monotonic()
        gone = manager.remove(vm)
        assert 0.3 <= backend.monotonic() - began < 1.3
        assert gone.exit is not None
        assert gone.exit.signal == signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="ptrace as Linux has it")
def test_37_what_is_traced_is_gone_when_its_tracer_lets_go(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", LONG))
    assert vm.pid is not None
    with subprocess.Popen(
        [sys.executable, "-c", TRACER, str(vm.pid)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as tracer:  # fmt: skip
        assert tracer.stdout is not None
        if tracer.stdout.readline() != "0\n":
            pytest.skip("nothing may be traced here")
        began = time.monotonic()
        with pytest.raises(StopError) as caught:  # its end is told to the tracer alone
            manager.remove(vm, grace=0.1)
        assert time.monotonic() - began < 3
        assert caught.value.pids == (vm.pid,)
        assert manager.get(vm).state is VMState.STOPPING
        assert not manager.health()
        tracer.communicate("\n")  # it ends, and what it traced is its parent's once more
    manager.wait(vm, VMState.REMOVED, timeout=60)
    assert manager.list() == []


TRACER = """
import ctypes, sys
seize, long = 0x4206, ctypes.c_long
ptrace = ctypes.CDLL(None).ptrace
print(ptrace(long(seize), long(int(sys.argv[1])), long(0), long(0)), flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(os.getuid() != 0, reason="makes a program that runs as root")
@pytest.mark.parametrize("containment", ["tree", "group"])
def test_41_what_runs_as_another_user_is_named_and_not_waited_for(
    containment: str, tmp_path: Path
) -> None:
    place = Path("/var/tmp") / f"faults-{os.getpid()}-{containment}"
    place.mkdir(mode=0o755)
    try:
        program = place / "other"  # one that sets its user, and runs as root
        shutil.copy(shutil.which("setpriv") or "/usr/bin/setpriv", program)
        program.chmod(0o4755)
        words = [str(program), "--reuid=0", "--regid=0", "--clear-groups", "sleep", "1000"]
        host = f"""
import os, sys, time
from procvm import *
os.setgroups([]); os.setgid(54322); os.setuid(54322)
with VMManager(SubprocessBackend({containment!r})) as manager:
    vm = manager.allocate(VMConfig("x", {words!r}))
    for _ in range(500):
        if "Uid:\t0\t0\t0" in open(f"/proc/{{vm.pid}}/status").read():
            break
        time.sleep(0.01)
    else:
        print("nosuid", flush=True)
        sys.exit()
    try:
        manager.remove(vm, grace=0.1)
    except StopError as e:
        assert e.pids == (vm.pid,), e
        assert manager.get(vm).state == "stopping"
        print(vm.pid, flush=True)
        while manager.list():
            time.sleep(0.01)
"""
        with subprocess.Popen(
            [sys.executable, "-c", host], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as run:
            assert run.stdout is not None
            assert run.stderr is not None
            said = run.stdout.readline().strip()
            if said == "nosuid":
                pytest.skip("no program may run as another user here")
            assert said, run.stderr.read()
            os.kill(int(said), signal.SIGKILL)
            assert run.wait(60) == 0, run.stderr.read()
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("closed", ["1>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"])
def test_43_what_closes_its_output_costs_nothing(manager: VMManager, closed: str) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    vm = manager.allocate(VMConfig("x", ["sh", "-c", f"exec {closed}; exec sleep 1000"]))
    other = manager.allocate(VMConfig("y", LONG))
    manager.wait(other, VMState.RUNNING)
    spent = time.process_time()
    with pytest.raises(Exception, match="after waiting"):
        manager.wait(vm, timeout=0.5)
    assert time.process_time() - spent < 0.1
    assert manager.get(vm).state is VMState.RUNNING
    manager.remove(other)
    manager.remove(vm)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 12  # what a backend holds


def test_44_a_flood_is_bounded_and_delays_nobody(manager: VMManager) -> None:
    flood = VMConfig("flood", ["yes", "x" * 200], log=LogPolicy(keep=2**16))
    vm = manager.allocate(flood)
    lines = manager.follow(vm)
    for _ in range(2000):
        next(lines)
    for number in range(20):
        began = time.monotonic()
        manager.remove(manager.allocate(VMConfig(f"y{number}", LONG)))
        assert time.monotonic() - began < 3
    kept = sum(len(line.text) + 1 for line in manager.logs(vm))
    assert 0 < kept <= 2**16 + 1  # the last line has no end yet
    manager.remove(vm)


def test_45_a_line_without_end_is_bounded_and_bytes_are_shown(manager: VMManager) -> None:
    program = (
        "import os\n"
        "for _ in range(50): os.write(1, b'x' * 1_000_000)\n"
        "os.write(1, b'\\n')\n"
        "last = 'h\\xe9 \\u20ac '.encode() + b'\\xff\\xe2\\x82 \\0'\n"
        "for byte in last: os.write(1, bytes([byte]))\n"
    )
    config = VMConfig("x", [sys.executable, "-c", program], log=LogPolicy(keep=2**16))
    vm = manager.wait(manager.allocate(config), timeout=100)
    assert vm.state is VMState.EXITED
    *before, last = map(str, manager.logs(vm))
    assert last == "h\xe9 \u20ac \ufffd\ufffd \0"
    assert sum(map(len, before)) <= 2**16
    assert set("".join(before)) == {"x"}


def test_48_without_its_directory_or_its_file_it_is_removed_all_the_same(
    manager: VMManager, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    program = place / "program"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    vm = manager.allocate(VMConfig("x", [str(program), "1000"], path=tmp_path))
    inside = manager.allocate(VMConfig("y", LONG, path=place))
    shutil.rmtree(place)
    with pytest.raises(ProgramNotFoundError):
        manager.reset(vm)
    assert manager.get(vm).state is VMState.FAILED
    for one in (vm, inside):
        assert manager.remove(one).state is VMState.REMOVED


@pytest.mark.skipif(os.getuid() != 0, reason="changes its root")
def test_48_what_changes_its_root_and_its_name_is_removed(
    manager: VMManager, tmp_path: Path
) -> None:
    program = (
        "import ctypes, os, sys, time\n"
        "ctypes.CDLL(None).prctl(15, b'other', 0, 0, 0)\n"
        f"os.chroot({str(tmp_path)!r}); os.chdir('/')\n"
        "print('up', flush=True)\n"
        "time.sleep(1000)\n"
    )
    vm = manager.allocate(VMConfig("x", [sys.executable, "-c", program]))
    next(iter(manager.follow(vm)))
    assert manager.remove(vm).state is VMState.REMOVED
    assert not Path(f"/proc/{vm.pid}").exists()


def test_49_a_reset_that_cannot_start_fails_and_the_next_may_succeed(
    manager: VMManager, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nsleep 1000\n")
    program.chmod(0o755)
    vm = manager.allocate(VMConfig("x", [str(program)]))
    program.rename(tmp_path / "elsewhere")
    with pytest.raises(ProgramNotFoundError):
        manager.reset(vm)
    failed = manager.get("x")
    assert failed.state is VMState.FAILED
    assert str(program) in failed.reason
    assert not Path(f"/proc/{vm.pid}").exists()
    (tmp_path / "elsewhere").rename(program)
    again = manager.reset("x")
    assert again.state is VMState.RUNNING
    assert again.vm_id == vm.vm_id
    assert again.generation == 3


def test_49_a_reset_that_fails_in_virtual_time_is_told_the_same() -> None:
    fake = FakeBackend()
    fake.program("x", FakeProgram(), FakeProgram(start_error=StartError("no")), FakeProgram())
    with VMManager(fake) as manager:
        vm = manager.allocate(VMConfig("x", LONG))
        with pytest.raises(StartError):
            manager.reset(vm)
        assert manager.get(vm).state is VMState.FAILED
        assert manager.reset(vm).generation == 3


class Unkillable(FakeBackend):
    """Nothing ends by a stop; what has been killed in vain is told."""

    def stop(self, key: Key, *, grace: float) -> None:
        alive = (Survivor(4711, "stuck"),)
        assert self._sink is not None
        self.call_later(grace + 1, lambda sink=self._sink: sink.survived(key, alive))  # type: ignore[misc]


def test_50_what_cannot_be_killed_is_told_and_its_end_noticed() -> None:
    backend = Unkillable()
    manager = VMManager(backend)
    vm = manager.allocate(VMConfig("x", LONG))
    with pytest.raises(StopError) as caught:
        manager.remove(vm, grace=2)
    assert caught.value.pids == (4711,)
    now = manager.get(vm)
    assert now.state is VMState.STOPPING
    assert not now.healthy
    with pytest.raises(StopError):  # it may be tried again
        manager.remove(vm, grace=1)
    backend.crash(vm, signal=9)
    assert manager.list() == []
    manager.close()


def test_61_62_one_vm_is_removed_and_reset_by_32_threads(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", LONG))
    lives: list[int] = []
    answers: list[object] = []

    def ask(number: int) -> None:
        try:
            if number % 2:
                lives.append(manager.reset(vm, grace=0.5).generation)
            else:
                manager.health()
                manager.list()
                answers.append(manager.get(vm).vm_id)
        except Exception as e:
            answers.append(e)

    everybody(ask)
    assert answers == [vm.vm_id] * 16
    now = manager.get(vm)
    assert now.state is VMState.RUNNING
    assert max(lives) == now.generation
    pids = [event.vm.pid for event in manager.history(vm) if event.kind == "started"]
    assert len(pids) == now.generation
    alive = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert alive == [now.pid]

    answers.clear()
    gone: list[VMState] = []

    def remove(number: int) -> None:
        try:
            gone.append(manager.remove(vm).state)
        except LookupError:
            answers.append("there is none")

    everybody(remove)
    assert gone
    assert set(gone) == {VMState.REMOVED}
    assert len(gone) + len(answers) == 32
    assert [event.kind for event in manager.history(vm)].count("removed") == 1


def everybody(ask: object) -> None:
    """Call it from 32 threads at once, with their numbers."""
    together = threading.Barrier(32)

    def run(number: int) -> None:
        together.wait(60)
        ask(number)  # type: ignore[operator]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
