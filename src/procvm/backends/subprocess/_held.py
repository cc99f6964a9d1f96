"""One tree as "group" holds it, and what the system says of its main process."""

from __future__ import annotations

import errno
import os
import signal as signals
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
        self.killed_at: float | None = None
        self.told_survivors = False
        self.deadline: float | None = None
        self.look = _FIRST_LOOK
        self.clean = 0
        self.sure = 0  # of the clean ones
        self.asked: set[tuple[int, int]] = set()  # to end, by number and start
        self.known: set[tuple[int, int]] = set()  # whom the last look has found, likewise
        self.in_exec: frozenset[tuple[int, int]] = frozenset()  # in the last look
        self.amid_since: float | None = None
        self.timer: Timer | None = None
        self.code: int | None = None
        self.signal: int | None = None

    def take_status(self) -> bool:
        """Ask how it ended, and leave it unreaped; False: it is its tracer's until that ends."""
        try:
            status = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        except ChildProcessError:
            self.is_owned = False
            return True
        if status is None:
            return False
        if status.si_code == os.CLD_EXITED:
            self.code = status.si_status
        else:
            self.signal = status.si_status
        return True

    def is_its_own(self) -> bool:
        """Look, just before the number is used, whether somebody else has reaped it meanwhile.

        Then it may be another's, even another child's of this very process.
        """
        if not self.is_owned:
            return False
        try:
            if self.has_ended:
                self.is_owned = is_zombie(self.pid)
            elif self.handle is not None:
                signals.pidfd_send_signal(self.handle, 0)
        except (ProcessLookupError, ChildProcessError):
            self.is_owned = False
        except PermissionError:
            pass  # another user's by now, and there
        return self.is_owned


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
