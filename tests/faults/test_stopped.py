"""Children that are stopped, or lose their parent meanwhile, hear that they are to end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest

from procvm import StopPolicy, SubprocessBackend, VMConfig, VMManager

# The parent passes its SIGTERM on and waits for its child, which has stopped itself.
FAMILY = """
import os, signal, sys

def child():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # none is to come before the wait
    if shape == "session":
        os.setsid()
    os.kill(os.getpid(), signal.SIGSTOP)
    signal.sigwait([signal.SIGTERM])
    os.write(1, b"polite\\n")
    os._exit(0)

def parent(*_):
    if shape != "orphan":
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
    sys.exit(0)

shape = sys.argv[1]
pid = os.fork()
if pid == 0:
    child()
os.waitpid(pid, os.WUNTRACED)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # none is to come before the wait
print("stopped", flush=True)
signal.sigwait([signal.SIGTERM])
parent()
"""


@pytest.fixture(params=["tree", "group"])
def manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    with VMManager(SubprocessBackend(request.param)) as made:
        yield made


@pytest.mark.timeout(60)
@pytest.mark.parametrize("to", ["main", "tree"])
@pytest.mark.parametrize("shape", ["group", "session", "orphan"])
def test_36_a_stopped_child_ends_politely(manager: VMManager, shape: str, to: str) -> None:
    stop = StopPolicy(grace=10.0, to="main" if to == "main" else "tree")
    vm = manager.allocate(VMConfig("x", [sys.executable, "-c", FAMILY, shape], stop=stop))
    lines = manager.follow(vm)
    assert str(next(lines)) == "stopped"
    gone = manager.remove(vm)
    assert gone.exit is not None
    assert (gone.exit.code, gone.exit.signal) == (0, None)
    assert "polite" in map(str, manager.logs(vm))


@pytest.mark.timeout(60)
def test_36_a_stopped_child_that_is_left_behind_ends_politely(
    manager: VMManager,
) -> None:
    vm = manager.allocate(VMConfig("x", [sys.executable, "-c", FAMILY, "group"]))
    assert str(next(manager.follow(vm))) == "stopped"
    manager.signal(vm, signal.SIGKILL)
    ended = manager.wait(vm)
    assert ended.exit is not None
    assert ended.exit.signal == signal.SIGKILL
    manager.remove(vm)
    assert "polite" in map(str, manager.logs(vm))


# The parent ends at once, while its many children are still being signalled.
MANY = """
import os, signal, sys

number = int(sys.argv[1])
signal.pthread_sigmask(signal.SIG_BLOCK, [number, signal.SIGTERM])  # none comes before the wait
for _ in range(300):
    if os.fork() == 0:
        signal.sigwait([number])
        os.write(1, b"polite\\n")
        os._exit(0)
print("ready", flush=True)
signal.sigwait([number])
os._exit(0)
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("verb", ["remove", "signal"])
def test_36_children_whose_parent_ends_meanwhile_hear_it_as_well(
    manager: VMManager, verb: str
) -> None:
    number = signal.SIGTERM if verb == "remove" else signal.SIGUSR1
    stop = StopPolicy(grace=10.0, to="tree")
    vm = manager.allocate(VMConfig("x", [sys.executable, "-c", MANY, str(int(number))], stop=stop))
    assert str(next(manager.follow(vm))) == "ready"
    if verb == "signal":
        manager.signal(vm, number, to="tree")
        manager.wait(vm)
    manager.remove(vm)
    assert [str(line) for line in manager.logs(vm)].count("polite") == 300
