"""no_leaks names what is left, and is silent when nothing is."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from procvm import FakeBackend, SubprocessBackend, Survivor, VMConfig, VMManager
from procvm.testing import LeakError, no_leaks


@pytest.fixture(params=["tree", "group"])
def backend(request: pytest.FixtureRequest) -> SubprocessBackend:
    return SubprocessBackend(request.param)


def test_a_manager_that_was_closed_leaves_nothing(backend: SubprocessBackend) -> None:
    with no_leaks(), VMManager(backend) as manager:
        manager.allocate(VMConfig("web", "sleep 1000"))
        manager.allocate(VMConfig("orphans", ["sh", "-c", "sleep 1000 & sleep 1000 &"]))
        manager.subscribe(print)
    with no_leaks(), VMManager(FakeBackend()) as manager:
        manager.allocate(VMConfig("web", "sleep 1000"))


def test_a_vm_is_named_with_its_argv(backend: SubprocessBackend) -> None:
    with pytest.raises(LeakError) as caught, no_leaks(patience=0.0):
        vm = (manager := VMManager(backend)).allocate(VMConfig("web", "sleep 1001"))
    left = {one.pid: one.command for one in caught.value.processes}
    assert left[vm.pid or 0] == "sleep 1001, VM 'web'"
    assert re.search(rf"process {vm.pid} \(sleep 1001, VM 'web'\)", str(caught.value))
    assert any("procvm" in name for name in caught.value.threads)
    assert caught.value.descriptors
    own = "a VMManager with VM 'web' that is open: close it"
    assert caught.value.managers == (own,)
    assert str(caught.value).endswith(f": left behind; some of it may belong to {own}")
    manager.close()


def test_what_an_open_manager_keeps_is_said_to_be_its_own(backend: SubprocessBackend) -> None:
    opened = []

    def forgets() -> None:
        opened.extend([VMManager(backend), VMManager(FakeBackend())])
        opened[0].remove(opened[0].allocate(VMConfig("web", "sleep 1001")))

    with pytest.raises(LeakError) as caught, no_leaks(patience=0.0):
        forgets()
    assert caught.value.descriptors
    assert caught.value.managers == ("a VMManager that is open: close it",)
    for manager in opened:
        manager.close()


def test_a_vm_of_an_older_manager_is_named(backend: SubprocessBackend) -> None:
    with VMManager(backend) as manager:
        manager.allocate(VMConfig("before", "sleep 1000"))
        with pytest.raises(LeakError) as caught, no_leaks(patience=0.0):
            vm = manager.allocate(VMConfig("web", "sleep 1001"))
        assert [one.pid for one in caught.value.processes] == [vm.pid]
        assert caught.value.managers == ("VM 'web' of an older VMManager: remove it",)
        with no_leaks():
            manager.reset("before")
            manager.remove("web")
            manager.allocate(VMConfig("new", "sleep 1000"))
            manager.remove("new")


FIRST = """
import sys, threading
from procvm import SubprocessBackend, VMConfig, VMManager
from procvm.testing import LeakError, no_leaks

with VMManager(SubprocessBackend(sys.argv[1])) as manager:
    with no_leaks(patience=0.1):
        manager.allocate(VMConfig("web", "sleep 1000"))
        manager.remove("web")
    try:
        with no_leaks(patience=0.1):
            manager.allocate(VMConfig("web", "sleep 1000"))
    except LeakError as error:
        print(len(error.processes), *error.threads)
with no_leaks(patience=0.1):
    assert threading.active_count() == 1
"""


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_what_helps_an_open_manager_is_no_leak_of_its_first_vm(containment: str) -> None:
    words = [sys.executable, "-c", FIRST, containment]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_a_backend_is_prepared_once_and_never_after_close(containment: str) -> None:
    backend = SubprocessBackend("tree" if containment == "tree" else "group")
    with no_leaks():
        with VMManager(backend) as manager:
            backend.prepare()
            backend.prepare()
            with no_leaks(patience=0.0):
                manager.health()
        backend.prepare()


@pytest.fixture
def sleeper() -> Iterator[list[subprocess.Popen[bytes]]]:
    made: list[subprocess.Popen[bytes]] = []
    yield made
    for process in made:
        process.kill()
        process.wait()


def test_a_process_is_named_also_when_nobody_has_reaped_it(
    sleeper: list[subprocess.Popen[bytes]],
) -> None:
    with pytest.raises(LeakError) as caught, no_leaks(patience=0.0):
        sleeper.append(subprocess.Popen(["sleep", "1002"]))
    assert caught.value.processes == (Survivor(sleeper[0].pid, "sleep 1002"),)

    def ends() -> None:
        sleeper.append(subprocess.Popen(["true"]))
        os.waitid(os.P_PID, sleeper[1].pid, os.WEXITED | os.WNOWAIT)

    with pytest.raises(LeakError, match="ended and not reaped"), no_leaks(patience=0.0):
        ends()


ORPHAN = """
import os, resource, subprocess, sys
tag, env = int(sys.argv[1]), dict([sys.argv[2].split("=")]) if sys.argv[2] else {}
if tag:
    resource.setrlimit(10, (tag, resource.getrlimit(10)[1]))  # RLIMIT_LOCKS
null = subprocess.DEVNULL
print(subprocess.Popen(["sleep", "1003"], env=env, stdout=null, stderr=null).pid)
"""


@pytest.mark.parametrize("way", ["mark", "tag"])
def test_what_escaped_from_a_closed_manager_is_found(way: str) -> None:
    """It is nobody's descendant that we know: its mark, or its tag, is all that tells."""
    from procvm.backends.subprocess._belongs import tag_of

    left = []

    def escapes() -> None:
        with VMManager(SubprocessBackend("tree")) as manager:
            web = manager.allocate(VMConfig("web", "sleep 1000"))
            assert web.pid is not None
            tag = (tag_of(web.pid) or 0) if way == "tag" else 0
        if way == "tag" and (not tag or tag & 0xFFFF):
            pytest.skip("no tags here, or inside of another keeper's tree")
        mark = f"PROCVM_VM={web.vm_id}" if way == "mark" else ""
        done = subprocess.run(
            [sys.executable, "-c", ORPHAN, str(tag), mark], capture_output=True, check=True
        )
        left.append(int(done.stdout))

    with pytest.raises(LeakError) as caught, no_leaks(patience=0.0):
        escapes()
    assert caught.value.processes == (Survivor(left[0], "sleep 1003"),)
    os.kill(left[0], 9)


def test_a_thread_is_named() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="my-thread")
    with pytest.raises(LeakError) as caught, no_leaks(patience=0.0):
        thread.start()
    assert caught.value.threads == ("my-thread",)
    stop.set()
    thread.join()


def test_a_descriptor_is_named_by_its_target() -> None:
    with pytest.raises(LeakError) as caught, no_leaks(patience=0.0):
        fd = os.open("/dev/null", os.O_RDONLY)
    assert caught.value.descriptors == ((fd, "/dev/null"),)
    assert str(caught.value) == f"descriptor {fd} -> /dev/null: left behind"
    os.close(fd)


def test_what_was_there_before_may_end_and_be_replaced() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    with no_leaks(patience=0.0):
        os.close(fd)
        fd = os.open("/dev/zero", os.O_RDONLY)
    os.close(fd)


def test_what_ends_within_the_patience_is_no_leak() -> None:
    ends = threading.Event()
    thread = threading.Thread(target=ends.wait, args=(30,))
    timer = threading.Timer(0.05, ends.set)
    with no_leaks(patience=60.0):
        thread.start()
        timer.start()


def test_an_exception_stays_what_it_is_and_is_told_more() -> None:
    opened = []

    def fails() -> None:
        opened.append(os.open("/dev/null", os.O_RDONLY))
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine") as caught, no_leaks(patience=0.0):
        fails()
    assert caught.value.__notes__ == [f"descriptor {opened[0]} -> /dev/null: left behind"]
    os.close(opened[0])


def test_a_leak_is_data() -> None:
    error = LeakError((Survivor(1, "init"),), ("thread",), ((3, "/dev/null"),), ("a manager",))
    again = pickle.loads(pickle.dumps(error))
    assert (again.processes, again.threads, again.descriptors, again.managers) == error.args
