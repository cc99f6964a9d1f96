"""A host that is killed: the programs that it owned must die with it."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from collections.abc import Callable

import psutil

from procvm import VMConfig

HOST = """
import pickle, sys
from procvm import SubprocessBackend, VMManager

config, containment = pickle.load(sys.stdin.buffer)
manager = VMManager(SubprocessBackend(containment))
print(manager.allocate(config).pid, flush=True)
sys.stdin.buffer.read()
"""
_PATIENCE = 10.0


def dies_with_its_host(
    config: VMConfig, containment: str, serves: Callable[[], None], processes: int
) -> None:
    """Start it in another host, kill that one with SIGKILL, and see everything end."""
    with subprocess.Popen(
        [sys.executable, "-c", HOST], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as host:
        assert host.stdin is not None
        assert host.stdout is not None
        host.stdin.write(pickle.dumps((config, containment)))
        host.stdin.flush()
        main = psutil.Process(int(host.stdout.readline()))
        serves()
        deadline = time.monotonic() + 30
        while len(family := [main, *main.children(recursive=True)]) < processes:
            assert time.monotonic() < deadline  # it serves before all of it is there
            time.sleep(0.01)
        host.kill()
        host.wait()
    _, left = psutil.wait_procs(family, timeout=_PATIENCE)
    assert left == []
