"""The host's end of the guard, which takes everything away when the host has died."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from ._guard_pipe import GuardPipe
from ._holds import Reactor
from ._members import HAS_PROC, handle_of, program_of, start_of

__all__ = ["Guard", "weaknesses"]

_log = logging.getLogger("procvm")
_PROGRAM = str(Path(__file__).with_name("_guard_program.py"))
_PATIENCE = 5.0
_BETWEEN = 1.0  # seconds between one and the next: whatever ended it may end that as well
_AGAIN = 0.1  # seconds
_FEW = 3  # short lives in a row: it does not run here
_MOST_DOUBLINGS = 6  # of the pause after them: it is tried each minute

_BOOT: int | None = getattr(time, "CLOCK_BOOTTIME", None)
_TICKS = os.sysconf("SC_CLK_TCK")

_WEAKER = (
    "containment is 'group': a daemon that has left its session and its parent and cleared its "
    "environment is not found"
)
_NO_GUARD = "nothing is taken away when this program is killed: its guard cannot run here"
_GROUPS_ALONE = "when this program is killed, only the group of each program is taken away"


class Guard:
    """Started with the first VM, told of each, and ended by close; if ended before, made anew.

    It reads what it is told when its host has died, or when its pipe fills.
    """

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._guarded: dict[str, str] = {}  # by VM: what was said of it
        self._process: subprocess.Popen[bytes] | None = None
        self._handle: int | None = None  # its pidfd
        self._began = 0.0
        self._is_down, self._is_trying, self._short_lives = False, False, 0
        self._pipe: GuardPipe | None = None
        self._knows_clock = False  # whether the time of a start is that of the boot's clock

    @staticmethod
    def is_available() -> bool:
        """Tell whether there is an interpreter to run it."""
        return bool(sys.executable)

    @property
    def is_lacking(self) -> bool:
        """Whether nobody guards what is to be guarded, or hardly ever."""
        return self._is_down or self._short_lives >= _FEW

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def begin(self) -> None:
        """Start it where it does not run; OSError: it cannot be."""
        if not self._is_running():
            self._start()

    def expect(self, vm_id: str) -> None:
        """Guard what is about to be started; starts the guard where it does not run.

        Where it cannot be started now, as no descriptor or process is left, that is tried again.
        """
        self._guarded[vm_id] = f"+0 0 0 {vm_id}\n"
        if self._is_running():
            self._say(self._guarded[vm_id])
        else:
            self._renew()

    def keep(self, pid: int, vm_id: str, since: int) -> None:
        """Guard a tree that was expected, now that its main process is known.

        ``since`` is a reading of ``ticks`` before it was started. With one after it they tell
        its start well enough, and in a hundredth of the time that a look at it takes.
        """
        first, last = since, ticks()
        if not self._knows_clock:
            try:
                first = last = start_of(pid) or 0
            except OSError:  # no descriptor to look with: it is known by its group and marker
                first = last = 0
        self._guarded[vm_id] = f"+{pid} {first} {last} {vm_id}\n"
        self._say(self._guarded[vm_id])

    def let_go(self, vm_id: str) -> None:
        """Guard it no more: nothing of it lives."""
        self._guarded.pop(vm_id, None)
        self._say(f"-{vm_id}\n")

    def _start(self) -> None:
        """Start it, and tell it of all that is guarded."""
        self._let_it_be()
        pipe = GuardPipe()
        try:
            # Before it begins: the host may die right after that.
            pipe.write("".join([f"={program_of(os.getpid())}\n", *self._guarded.values()]))
            since = ticks()
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-S", "-E", "-s", "-B", _PROGRAM, str(pipe.nudged), *_host()],
                stdin=pipe.to_read, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                start_new_session=True, pass_fds=[pipe.nudged],
            )  # fmt: skip
        except BaseException:
            pipe.close()
            raise
        pipe.hand_over()
        self._pipe = pipe
        with contextlib.suppress(OSError):  # no descriptor is left
            began = start_of(self._process.pid)
            self._knows_clock = began is not None and since <= began <= ticks()
        with contextlib.suppress(OSError):
            self._handle = handle_of(self._process.pid)
        self._is_down = False
        if self._handle is not None:
            self._reactor.register(self._handle, self._ended)
        self._began = self._reactor.monotonic()
        self._say("")  # what the pipe was too small for

    def _ended(self) -> None:
        """Somebody has ended it: what runs gets another one."""
        process = self._process
        self._let_it_be()
        if process is None:
            return
        code = process.wait()  # at once, says its handle
        life = self._reactor.monotonic() - self._began
        self._is_down = True
        self._short_lives = self._short_lives + 1 if life < _BETWEEN else 0
        pause = _BETWEEN * 2 ** min(self._short_lives - 1, _MOST_DOUBLINGS)
        self._try_in(max(0.0, pause - life) if self._short_lives else 0.0)
        how = f"was ended by signal {-code}" if code < 0 else f"has ended with code {code}"
        _log.warning("the guard, process %d, %s, and is started anew", process.pid, how)

    def _renew(self) -> None:
        """Start it where something is guarded; else the next start does."""
        if not self._guarded:
            return
        try:
            self.begin()
        except OSError:  # no descriptor or process is left now
            self._is_down = True
            self._try_in(_BETWEEN)

    def _try_in(self, seconds: float) -> None:
        if not self._is_trying:
            self._is_trying = True
            self._reactor.call_later(seconds, self._try)

    def _try(self) -> None:
        self._is_trying = False
        self._renew()

    def _say(self, words: str) -> None:
        """Write it down for the guard, and wake it when the pipe fills."""
        pipe = self._pipe
        if pipe is None:
            return
        try:
            is_told = pipe.write(words)
            if not is_told or pipe.is_filling():
                self._wake(pipe)
            if not is_told:  # somebody has stopped it, or it was not woken in time
                pipe.await_room()
                pipe.write("")
        except OSError:
            pipe.close()  # it was ended by somebody, which its handle tells
            self._pipe = None
            if self._handle is None:
                self._try_in(_BETWEEN)
            return
        if not pipe.has_told_all and not pipe.is_due:
            pipe.is_due = True
            self._reactor.call_later(_AGAIN, lambda: self._say_the_rest(pipe))

    def _say_the_rest(self, pipe: GuardPipe) -> None:
        pipe.is_due = False
        if pipe is self._pipe:
            self._say("")

    def _wake(self, pipe: GuardPipe) -> None:
        pipe.nudge()
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End the guard and reap it."""
        self._guarded.clear()
        if self._process is None:
            return
        self._say("quit\n")
        self._let_it_be()
        self._process.send_signal(signal.SIGCONT)  # somebody may have stopped it
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _let_it_be(self) -> None:
        """Neither watch it nor speak to it."""
        if self._handle is not None:
            self._reactor.unregister(self._handle)
        self.forget()

    def forget(self) -> None:
        """Close what is open; in a forked child its copies: what is watched is the parent's."""
        pipe, self._pipe = self._pipe, None
        handle, self._handle = self._handle, None  # a child forked now closes its own alone
        if pipe is not None:
            pipe.close()
        if handle is not None:
            os.close(handle)


def ticks() -> int:
    """Return the time since the boot, as a process's start is told (proc_pid_stat(5)); else 0."""
    if _BOOT is None:
        return 0
    return time.clock_gettime_ns(_BOOT) * _TICKS // 10**9


def _host() -> tuple[str, str]:
    """Return the thread whose end is that of this process's loop, and this process."""
    return str(threading.get_native_id()), str(os.getpid())


def weaknesses(guard: Guard | None) -> tuple[str, ...]:
    """Return what does not hold of a group that has this guard."""
    if guard is None or guard.is_lacking:
        return _WEAKER, _NO_GUARD
    return (_WEAKER,) if HAS_PROC else (_WEAKER, _GROUPS_ALONE)
