"""Another user is asked for, and the host may not become one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LOSE = """
import ctypes, os, sys
prctl = ctypes.CDLL(None, use_errno=True).prctl
for capability in (6, 7):  # CAP_SETGID, CAP_SETUID: capabilities(7)
    if os.geteuid() == 0 and prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
        raise OSError(ctypes.get_errno(), "prctl")
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""
PROGRAM = """
import os, sys
from procvm import Limits, StartError, SubprocessBackend, VMConfig, VMManager
with VMManager(SubprocessBackend(sys.argv[1])) as manager:
    for limits in (Limits(), Limits(core=0)):
        for user in (os.geteuid() + 65534, "nobody"):
            config = VMConfig("x", ["sleep", "1000"], user=user, limits=limits)
            try:
                manager.allocate(config)
            except StartError as error:
                assert type(error) is StartError, repr(error)
                assert (error.step, error.errno) == ("user", 1), repr(error)
                assert repr(user) in str(error), error
            else:
                raise AssertionError("it runs")
    assert manager.list() == []
"""


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_a_user_that_may_not_be_taken_on_is_said(containment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOSE, PROGRAM, containment],
        timeout=60, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "prctl" in done.stderr:
        pytest.skip(f"no right can be given up here: {os.geteuid()}")
    assert done.returncode == 0, done.stderr
