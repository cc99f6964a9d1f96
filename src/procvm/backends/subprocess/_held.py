"""One tree as "group" holds it, and what the system says of its main process."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

from ..base import Key, Plan, Timer

__all__ = ["Held", "group_of", "is_zombie", "step_of"]

_FIRST_LOOK = 0.002
_NO_RIGHT = (errno.EPERM, errno.EINVAL)  # what setgroups, setgid and setuid answer


class Held:
    """One tree."""

    def __init__(
        self, key: Key, plan: Plan, process: subprocess.Popen[bytes], began: float
    ) -> None:
        self.key = key
        self.plan = plan
        self.process = process
        self.pid = process.pid
        self.began = began  # before it was started
        self.handle: int | None = None
        self.is_owned = True  # nobody else has reaped it
        self.has_ended = False
        self.told_exit = False
        self.told_survivors = False
        self.deadline: float | None = None
        self.look = _FIRST_LOOK
        self.clean = 0
        self.timer: Timer | None = None
        self.code: int | None = None
        self.signal: int | None = None


def is_zombie(pid: int) -> bool:
    """Tell whether a child has ended and is not reaped; ChildProcessError: there is none."""
    if not hasattr(os, "waitid"):  # on some systems nothing but a reaping look is to be had
        return True
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def step_of(error: OSError, plan: Plan) -> str:
    """Return what Popen's child was doing; it names the program when that was the exec."""
    is_exec = error.filename in (plan.executable, sys.executable)
    wanted = plan.config.user is not None and error.errno in _NO_RIGHT
    return "user" if wanted and not is_exec else "spawn"


def group_of(pid: int) -> int | None:
    """Return a process's group; None when it is gone."""
    try:
        return os.getpgid(pid)
    except OSError:
        return None
