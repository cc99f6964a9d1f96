"""Faults of the host: its threads, forks, interrupts, callbacks and its own end."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from looking import until

from procvm import (
    FakeBackend,
    ManagerClosedError,
    ProcVMError,
    StartInterruptedError,
    SubprocessBackend,
    VMConfig,
    VMEvent,
    VMManager,
    VMNotFoundError,
    VMState,
    probes,
)  # fmt: skip

LONG = ["sleep", "1000"]
DEAF = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1000; done"]


def alive(pid: int | None) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def until_dead(*pids: int | None) -> None:
    until(lambda: not any(map(alive, pids)))


def marked(vm_id: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and alive(int(entry.name)):
            try:
                if f"PROCVM_VM={vm_id}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_53_an_exception_passes_unchanged_and_leaves_nothing(containment: str) -> None:
    error = KeyError("the user's own")
    pids = []

    def use() -> None:
        with VMManager(SubprocessBackend(containment)) as manager:  # type: ignore[arg-type]
            pids.append(manager.allocate(VMConfig("x", LONG)).pid)
            raise error

    with pytest.raises(KeyError) as caught:
        use()
    assert caught.value is error
    assert not alive(pids[0])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_53_an_exit_of_one_thread_is_nothing_to_the_vms(manager: VMManager) -> None:
    def work() -> None:
        manager.allocate(VMConfig("x", LONG))
        sys.exit(3)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    vm = manager.get("x")
    assert vm.state is VMState.RUNNING
    assert alive(vm.pid)
    assert manager.reset("x").state is VMState.RUNNING


def nothing() -> None:
    """Stand for a worker's task."""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_55_workers_of_multiprocessing_end_and_take_nothing(
    manager: VMManager, method: str
) -> None:
    vm = manager.allocate(VMConfig("x", LONG))
    context = multiprocessing.get_context(method)
    if method == "fork":
        worker = context.Process(target=nothing)  # type: ignore[attr-defined]
        worker.start()
        worker.join(60)
        assert worker.exitcode == 0
    else:
        program = f"import multiprocessing as m\nm.get_context({method!r}).Pool(1).map(abs, [1])"
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert manager.get(vm) == vm
    assert alive(vm.pid)


def test_55_a_manager_cannot_be_pickled(manager: VMManager) -> None:
    with pytest.raises(TypeError, match="owns processes"):
        pickle.dumps(manager)


TWICE = """
import signal, sys, threading, time, _thread
from procvm import SubprocessBackend, VMConfig, VMManager
manager = VMManager(SubprocessBackend(sys.argv[1]))
deaf = "trap '' TERM; echo deaf; while :; do sleep 1000; done"
vm = manager.allocate(VMConfig("x", ["sh", "-c", deaf]))
next(iter(manager.follow(vm)))
heard, main, calls = [], threading.main_thread().ident, threading.Semaphore(0)
def interrupt():
    for _ in range(2):
        calls.acquire()
        while not sys._current_frames()[main].f_code.co_qualname.endswith("Bell.wait"):
            time.sleep(0.001)
        signal.pthread_kill(main, signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
for call in (lambda: manager.remove(vm, grace=9.0), lambda: manager.close(grace=2.0)):
    try:
        calls.release()
        call()
    except KeyboardInterrupt:
        heard.append(call)
seen = len(heard)
print(vm.pid, seen, flush=True)
"""


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_57_two_interrupts_end_the_waiting_and_not_the_stop(containment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWICE, containment], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pid, seen = map(int, done.stdout.split())
    assert seen == 2
    until_dead(pid)


TERMINAL = """
import os, signal, sys, time
from procvm import SubprocessBackend, VMConfig, VMManager
signal.signal(signal.SIGINT, lambda *_: None)
with VMManager(SubprocessBackend(sys.argv[1])) as manager:
    vm = manager.allocate(VMConfig("x", ["sleep", "1000"]))
    os.killpg(0, signal.SIGINT)
    again = manager.allocate(VMConfig("y", ["sleep", "1000"]))
    print(manager.get(vm).state, manager.get(again).state, flush=True)
"""


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_58_an_interrupt_of_the_terminal_reaches_no_program(containment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TERMINAL, containment], capture_output=True, text=True, timeout=60,
        start_new_session=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["running", "running"], done.stderr


@pytest.mark.parametrize("containment", ["tree", "group"])
@pytest.mark.parametrize("cycle", [False, True])
def test_59_a_forgotten_manager_warns_and_takes_everything_away(
    containment: str, *, cycle: bool
) -> None:
    manager = VMManager(SubprocessBackend(containment))  # type: ignore[arg-type]
    pid = manager.allocate(VMConfig("x", LONG)).pid
    holder: dict[str, object] = {"manager": manager}
    if cycle:
        holder["self"] = holder
    with pytest.warns(ResourceWarning, match="forgotten"):  # noqa: PT031 - both forget it
        del manager, holder
        gc.collect()
    until_dead(pid)


def test_59_where_warnings_are_errors_it_is_taken_away_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: raised.append(told.exc_type))
    manager = VMManager()
    pid = manager.allocate(VMConfig("x", LONG)).pid
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del manager
        gc.collect()
    until_dead(pid)
    assert raised == [ResourceWarning]


def test_60_after_close_everything_but_the_past_is_refused(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", ["sh", "-c", "echo said; sleep 1000"]))
    next(iter(manager.follow(vm)))
    manager.close()
    manager.close()
    for call in (
        lambda: manager.allocate(VMConfig("y", LONG)), lambda: manager.remove(vm),
        lambda: manager.reset(vm), manager.list, manager.health, lambda: manager.get(vm),
        lambda: manager.wait(vm), lambda: manager.signal(vm, 15), lambda: manager.usage(vm),
        lambda: next(iter(manager.follow(vm))), lambda: manager.subscribe(print),
        lambda: manager.allocate_all([VMConfig("y", LONG)]),
    ):  # fmt: skip
        with pytest.raises((ManagerClosedError, ExceptionGroup)):
            call()
    assert [str(line) for line in manager.logs(vm)] == ["said"]
    assert manager.history(vm)[-1].kind == "removed"


def test_60_a_callback_may_close(manager: VMManager) -> None:
    closed = threading.Event()

    def callback(event: VMEvent) -> None:
        if event.kind == "ready":
            manager.close()
            closed.set()

    manager.subscribe(callback)
    vm = manager.allocate(VMConfig("x", LONG))
    assert closed.wait(30)
    assert not alive(vm.pid)


def test_61_many_removals_of_one_vm_agree(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", LONG))

    def remove(_: int) -> object:
        try:
            return manager.remove(vm)
        except VMNotFoundError as e:
            return e

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(remove, range(32)))
    gone = {answer for answer in answers if not isinstance(answer, VMNotFoundError)}
    assert len(gone) == 1
    assert not alive(vm.pid)


def test_61_verbs_of_every_kind_at_once_end_and_leave_nothing(manager: VMManager) -> None:
    def work(number: int) -> None:
        name = f"vm{number % 4}"
        for turn in range(4):
            try:
                if (number + turn) % 4 == 0:
                    manager.allocate(VMConfig(name, LONG))
                elif (number + turn) % 4 == 1:
                    manager.reset(name)
                elif (number + turn) % 4 == 2:
                    manager.remove(name)
                else:
                    manager.health()
                    manager.list()
            except Exception as e:
                if type(e).__module__ != "procvm.errors":
                    raise

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    pids = [vm.pid for vm in manager.list()]
    manager.close()
    until_dead(*pids)


def test_62_many_resets_of_one_vm_leave_one_process(manager: VMManager, tmp_path: Path) -> None:
    vm = manager.allocate(VMConfig("x", LONG))
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda _: manager.reset(vm), range(32)))
    found: list[int] = []
    deadline = time.monotonic() + 20
    while not found and time.monotonic() < deadline:  # in the middle of an exec it reads empty
        found = marked(vm.vm_id)
    assert found == [manager.get(vm).pid]


@pytest.mark.parametrize("verb", ["remove", "reset"])
def test_62_a_verb_during_a_start_takes_it_over(
    manager: VMManager, verb: str, tmp_path: Path
) -> None:
    """The start never gets ready by itself: its second life does, at once."""
    flag = tmp_path / "flag"
    shell = f"if [ -e {flag} ]; then echo ready; fi; : > {flag}; sleep 1000"
    config = VMConfig("x", ["sh", "-c", shell], ready=probes.log("ready", timeout=30))
    answers: list[object] = []

    def allocate() -> None:
        try:
            answers.append(manager.allocate(config))
        except StartInterruptedError as e:
            answers.append(e)

    thread = threading.Thread(target=allocate)
    thread.start()
    deadline = time.monotonic() + 20
    while not flag.exists() and time.monotonic() < deadline:
        time.sleep(0.005)  # the program's own sign
    getattr(manager, verb)("x")
    thread.join(30)
    if verb == "remove":
        assert isinstance(answers[0], StartInterruptedError)
        assert manager.list() == []
    else:
        assert getattr(answers[0], "state", None) is VMState.RUNNING


def test_63_a_callback_that_raises_or_blocks_hurts_nobody(
    manager: VMManager, caplog: pytest.LogCaptureFixture
) -> None:
    release, seen = threading.Event(), threading.Event()

    def broken(event: VMEvent) -> None:
        raise ValueError("the subscriber's own")

    def stuck(event: VMEvent) -> None:
        release.wait(60)

    def good(event: VMEvent) -> None:
        if event.kind == "ready":
            seen.set()

    for callback in (broken, stuck, good):
        manager.subscribe(callback)
    manager.allocate(VMConfig("x", LONG))
    assert seen.wait(30)
    manager.remove("x")
    release.set()
    assert "the subscriber's own" in caplog.text


def test_64_a_callback_may_call_every_verb(manager: VMManager) -> None:
    done = threading.Event()

    def callback(event: VMEvent) -> None:
        if (event.kind, event.vm.name) == ("ready", "x"):
            manager.allocate(VMConfig("y", LONG))
            manager.reset("y")
            manager.remove("y")
            manager.remove("x")
            done.set()

    manager.subscribe(callback)
    manager.allocate(VMConfig("x", LONG))
    assert done.wait(30)
    assert manager.list() == []


def test_66_a_large_and_busy_host_starts_programs_that_are_not_its_copies(
    manager: VMManager,
) -> None:
    large = bytearray(2**28)
    for page in range(0, len(large), 4096):
        large[page] = 1
    ended = threading.Event()

    def compute() -> None:
        while not ended.is_set():
            pass

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        manager.allocate(VMConfig("x", ["sh", "-c", "cat /proc/self/statm; sleep 1000"]))
        pages = int(str(next(iter(manager.follow("x")))).split()[0])
    finally:
        ended.set()
        thread.join()
    assert pages * 4096 < len(large)


@pytest.mark.parametrize("verb", ["allocate", "health", "list", "remove"])
def test_67_at_the_end_of_the_stack_the_state_stays_true(verb: str) -> None:
    """Called ever deeper until there is no stack left: what is listed may be used."""
    with VMManager(FakeBackend()) as manager:
        manager.allocate(VMConfig("kept", LONG))
        calls: dict[str, Callable[[int], object]] = {
            "allocate": lambda n: manager.allocate(VMConfig(f"vm{n}", LONG)),
            "health": lambda n: manager.health(),
            "list": lambda n: manager.list(),
            "remove": lambda n: manager.remove(manager.allocate(VMConfig(f"vm{n}", LONG))),
        }
        failed: list[int] = []
        others: list[Exception] = []

        def deeper(depth: int) -> None:
            try:
                deeper(depth + 1)
            except RecursionError:
                pass
            try:
                calls[verb](depth)
            except RecursionError:
                failed.append(depth)
            except ProcVMError as e:
                failed.append(depth)
                others.extend([] if "recursion" in f"{e} {e.__cause__}" else [e])

        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(400)
        try:
            deeper(0)
        finally:
            sys.setrecursionlimit(limit)
        assert failed
        assert not others
        names = {vm.name for vm in manager.list()}
        if verb == "allocate":
            assert not names & {f"vm{depth}" for depth in failed}
        for vm in manager.list():
            manager.reset(vm)
            manager.remove(vm)


FORKED_IN_C = """
import ctypes, os, sys, time
from procvm import SubprocessBackend, VMConfig, VMManager
manager = VMManager(SubprocessBackend(sys.argv[1]))
vm = manager.allocate(VMConfig("x", ["sh", "-c", "setsid sleep 1000 & sleep 1000"]))
libc = ctypes.CDLL(None)
child = libc.fork()
if child == 0:
    while True:
        libc.pause()
print(vm.pid, child, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_68_a_copy_of_the_host_made_in_c_keeps_nothing_alive(containment: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORKED_IN_C, containment], stdout=subprocess.PIPE, text=True
    ) as host:
        assert host.stdout is not None
        pid, child = map(int, host.stdout.readline().split())
        host.wait(30)
        try:
            until_dead(pid)
            assert alive(child)
        finally:
            os.kill(child, signal.SIGKILL)


def test_71_a_host_stopped_for_longer_than_a_grace_kills_nothing_that_ended_well(
    tmp_path: Path,
) -> None:
    program = """
import os, sys, threading
from procvm import VMConfig, VMManager
text = (
    "import signal,sys,time\\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, [15])\\n"  # so that none comes before the wait
    "print('up', flush=True)\\nsignal.sigwait([15])\\ntime.sleep(0.2)\\nsys.exit(5)"
)
with VMManager() as manager:
    vm = manager.allocate(VMConfig("x", [sys.executable, "-c", text]))
    next(iter(manager.follow(vm)))
    thread = threading.Thread(target=lambda: print(manager.remove(vm, grace=1.0).exit, flush=True))
    stopping = threading.Event()
    manager.subscribe(lambda event: event.kind == "stopping" and stopping.set())
    thread.start()
    stopping.wait()
    print("asked", flush=True)
    thread.join()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == "asked\n"
        host.send_signal(signal.SIGSTOP)
        threading.Event().wait(1.5)  # longer than the grace: this is the fault itself
        host.send_signal(signal.SIGCONT)
        assert host.stdout.readline() == "exited with code 5\n"
        assert host.wait(30) == 0
