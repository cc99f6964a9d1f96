"""The host's end of the guard, which takes everything away when the host has died."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from ._members import HAS_PROC, program_of, start_of

__all__ = ["Guard", "weaknesses"]

_PROGRAM = str(Path(__file__).with_name("_guard_program.py"))
_PATIENCE = 5.0

_WEAKER = (
    "containment is 'group': a daemon that has left its session and its parent and cleared its "
    "environment is not found"
)
_NO_GUARD = "nothing is taken away when this program is killed: its guard cannot run here"
_GROUPS_ALONE = "when this program is killed, only the group of each program is taken away"


class Guard:
    """Started with the first VM, told of each, and ended by close."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None

    @staticmethod
    def is_available() -> bool:
        """Tell whether there is an interpreter to run it."""
        return bool(sys.executable)

    def begin(self) -> None:
        """Start it where it does not run; OSError: it cannot be."""
        if self._process is None or self._process.poll() is not None:
            self._start()

    def expect(self, vm_id: str) -> None:
        """Guard what is about to be started; starts the guard where it does not run.

        Raises:
            OSError: It cannot be started: no descriptor or process is left.
        """
        self.begin()
        self._say(f"+0 0 {vm_id}\n")

    def keep(self, pid: int, vm_id: str) -> None:
        """Guard a tree that was expected, now that its main process is known."""
        try:
            start = start_of(pid) or 0
        except OSError:  # no descriptor to look with: it is known by its group and marker
            start = 0
        self._say(f"+{pid} {start} {vm_id}\n")

    def let_go(self, vm_id: str) -> None:
        """Guard it no more: nothing of it lives."""
        self._say(f"-{vm_id}\n")

    def _start(self) -> None:
        self.forget()
        read, write = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-S", "-E", "-s", "-B", _PROGRAM, *_host()],
                stdin=read, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                start_new_session=True,
            )  # fmt: skip
            self._pipe = write
            self._say(f"={program_of(os.getpid())}\n")
        except OSError:
            os.close(write)
            raise
        finally:
            os.close(read)

    def _say(self, words: str) -> None:
        if self._pipe is not None:
            try:
                os.write(self._pipe, words.encode())
            except OSError:
                self.forget()  # it was ended by somebody: the next start makes a new one

    def close(self) -> None:
        """End the guard and reap it."""
        if self._process is None:
            return
        self._say("quit\n")
        self.forget()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def forget(self) -> None:
        """Close this process's end of the pipe."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


def _host() -> tuple[str, str]:
    """Return the thread whose end is that of this process's loop, and this process."""
    return str(threading.get_native_id()), str(os.getpid())


def weaknesses(guard: Guard | None) -> tuple[str, ...]:
    """Return what does not hold of a group that has this guard."""
    if guard is None:
        return _WEAKER, _NO_GUARD
    return (_WEAKER,) if HAS_PROC else (_WEAKER, _GROUPS_ALONE)
