"""A host that ends by SIGPIPE, as what is piped to ``head`` does, is not ended by its helper."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")

HOST = """
import signal, sys
import psutil
from procvm import StartError, SubprocessBackend, VMConfig, VMManager
from procvm.backends.subprocess._guard import Guard
from procvm.backends.subprocess._keeper import Keeper

signal.signal(signal.SIGPIPE, signal.SIG_DFL)
manager = VMManager(SubprocessBackend(sys.argv[1]))
env = {f"X{number}": "x" * 60_000 for number in range(int(sys.argv[2]))}
first = manager.allocate(VMConfig("first", ["sleep", "1000"]))
helper, = (one for one in psutil.Process().children() if one.pid != first.pid)
owner, verb = (Keeper, "say") if sys.argv[1] == "tree" else (Guard, "keep")
say = getattr(owner, verb)

def say_to_the_dead(self, *words):
    setattr(owner, verb, say)
    helper.kill()
    while helper.status() != psutil.STATUS_ZOMBIE:
        pass
    print("dead")
    return say(self, *words)

setattr(owner, verb, say_to_the_dead)
try:
    manager.allocate(VMConfig("second", ["sleep", "1000"], env=env))
except StartError:
    pass  # the helper's end took it away
print(manager.allocate(VMConfig("third", ["sleep", "1000"])).state)
manager.close()
"""


@pytest.mark.parametrize("variables", [0, 6])
@pytest.mark.parametrize("containment", ["tree", "group"])
def test_a_helper_that_is_dead_when_it_is_told_ends_nobody(
    containment: str, variables: int
) -> None:
    """Also where a request is too long for a message, and goes as a descriptor."""
    command = [sys.executable, "-W", "ignore", "-c", HOST, containment, str(variables)]
    host = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (host.returncode, host.stdout) == (0, "dead\nrunning\n"), host.stderr


NOBODY_READS = """
import signal
from procvm.backends.subprocess._guard_pipe import GuardPipe

signal.signal(signal.SIGPIPE, signal.SIG_DFL)
pipe = GuardPipe()
pipe.hand_over()
for tell in (lambda: pipe.write("words"), pipe.nudge):
    try:
        tell()
    except BrokenPipeError:
        assert signal.SIGPIPE not in signal.sigpending()
        print("told")
pipe.close()
"""


def test_to_write_and_to_nudge_is_an_error_where_nobody_reads() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOBODY_READS],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "told\ntold\n"), done.stderr
