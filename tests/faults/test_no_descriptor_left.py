"""No descriptor is left to a host that removes and closes: all is taken away all the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, resource, signal, sys, threading
from procvm import ProcVMError, StopPolicy, SubprocessBackend, VMConfig, VMManager, VMState

def take_all():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        while True:
            os.open("/dev/null", os.O_RDONLY)
    except OSError:
        pass

def held(pipe):
    try:
        return os.read(pipe, 1) != b""
    except BlockingIOError:
        return True

fifo, what = sys.argv[2], sys.argv[3]
os.mkfifo(fifo)
pipe = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
manager = VMManager(SubprocessBackend(sys.argv[1]))
tree = f"exec 9>{fifo}; trap '' TERM; setsid sleep 1000 & sleep 1000 & echo up; sleep 1000"
for name in ("a", "b"):
    vm = manager.allocate(VMConfig(name, ["sh", "-c", tree], stop=StopPolicy(grace=0.1)))
    next(iter(manager.follow(vm)))
def reads(pid, name):
    try:
        return open(f"/proc/{pid}/{name}").read()
    except OSError:
        return ""

numbers = [pid for pid in os.listdir("/proc") if pid.isdigit()]
mine = [pid for pid in numbers if f"PPid:\\t{os.getpid()}\\n" in reads(pid, "status")]
keeper = next((int(pid) for pid in mine if "procvm-keeper" in reads(pid, "cmdline")), 0)
take_all()
if what == "remove":
    assert manager.remove("a").state is VMState.REMOVED
    manager.remove("b")
elif what == "keeper":
    os.kill(keeper, signal.SIGKILL)
    assert manager.wait("a", VMState.FAILED, timeout=30).state is VMState.FAILED
    manager.wait("b", VMState.FAILED, timeout=30)
else:
    manager.close()
assert not held(pipe)
manager.close()
"""


@pytest.mark.parametrize(
    ("containment", "what"),
    [
        ("tree", "remove"), ("group", "remove"), ("tree", "close"), ("group", "close"),
        ("tree", "keeper"),
    ],
)  # fmt: skip
def test_23_without_a_descriptor_everything_is_taken_away(
    tmp_path: object, containment: str, what: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, containment, f"{tmp_path}/held", what],
        timeout=100, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
