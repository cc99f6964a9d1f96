"""No descriptor is left: a start fails with the reason, and nobody else is hurt."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, resource, sys
from procvm import ResourceError, SubprocessBackend, VMConfig, VMManager

def count():
    return len(os.listdir("/proc/self/fd"))

with VMManager(SubprocessBackend(sys.argv[1])) as manager:
    first = manager.allocate(VMConfig("first", ["sleep", "1000"]))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    started = 0
    for spare in range(9):
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        for fd in taken[:spare]:
            os.close(fd)
        try:
            vm = manager.allocate(VMConfig("x", ["sleep", "1000"]))
        except ResourceError as error:
            assert error.errno == 24, error
        else:
            started += 1
            manager.remove(vm)
        for fd in taken[spare:]:
            os.close(fd)
        assert [vm.name for vm in manager.list()] == ["first"], manager.list()
    assert started, "with some to spare it starts"
    before = count()
    manager.remove(manager.allocate(VMConfig("y", ["sleep", "1000"])))
    assert count() == before
    now = manager.get(first)
    assert now.pid == first.pid and now.generation == 1, now
"""


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_21_22_a_start_without_descriptors_fails_and_hurts_nobody(containment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, containment],
        timeout=100, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
