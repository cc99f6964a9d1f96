"""The guard: a small process that takes everything away when its host has died.

Run as a script by the host, never imported. On its standard input are lines ("=PROGRAM" at
first, "+0 0 0 VM_ID" before a start, "+PID FIRST LAST VM_ID" after it, with ticks between which
that happened, "-VM_ID", "quit"). It reads them when a byte comes through the pipe that it is given
or at the end. It watches the host by a pidfd as well: the end of a pipe alone never comes while a
forked child of the host holds a copy of it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_EXITING = 4  # PF_EXITING, include/linux/sched.h
_PATIENCE = 5.0
_FOR_A_START = 0.5  # seconds: the host died between a fork and its exec, which goes on
_MOST_FOR_A_START = 30.0  # where it is seen to be there, and does not come to its exec
_FIRST_PASS, _SLOWEST_PASS = 0.002, 0.05
_SURE_PASSES = 3  # in a row
_UNSURE_PASSES = 10  # where somebody's environment cannot be seen


Guarded = dict[str, tuple[int, int, int]]  # by VM: its main process, and when that began


def main(nudge: int, loop: int, host: int) -> None:
    """Wait until the host is gone; then take away what is guarded."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    guarded, program = _listen(host, _end_of(loop, host), nudge)
    if guarded:
        _take_away(guarded, program)


def _end_of(loop: int, host: int) -> int:
    """Return a descriptor that is readable when the host's thread that started this has ended.

    By SIGCONT (prctl(2), PR_SET_PDEATHSIG), which one that somebody has stopped hears too. A host
    that is killed does not end, and closes nothing, while another of its threads waits in the
    kernel where no signal reaches it.
    """
    ended, to_end = os.pipe()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    thread = f"/proc/{host}/task/{loop}/stat"

    def look(*_: object) -> None:
        if _is_ending(thread):  # else somebody has continued the guard
            os.write(to_end, b"x")

    if sys.platform == "linux":
        # Where another /proc is mounted, or none, the end of the pipe has to do.
        with contextlib.suppress(ImportError, OSError):
            if not os.path.exists(f"/proc/{host}/task"):  # noqa: PTH110 - a small program
                return ended
            from _ctypes import call_function, dlopen, dlsym  # noqa: PLC0415 - may be missing

            signal.signal(signal.SIGCONT, look)
            prctl = dlsym(dlopen(None, 0), "prctl")  # type: ignore[arg-type] # None: the program itself
            call_function(prctl, (_PR_SET_PDEATHSIG, int(signal.SIGCONT), 0, 0, 0))
            look()  # it may have ended before it was to be heard
    return ended


def _is_ending(thread: str) -> bool:
    """Tell whether a thread has ended, or is about to (proc_pid_stat(5), PF_EXITING)."""
    try:
        with open(thread, "rb") as file:  # noqa: PTH123 - the same
            words = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:  # no descriptor is left to look with
        return False
    return words[0] in (b"Z", b"X") or bool(int(words[6]) & _EXITING)


def _listen(host: int, ended: int, nudge: int) -> tuple[Guarded, str]:
    """Return what is guarded when the host has died, and its program; nothing after quit."""
    os.set_blocking(0, False)
    poll = select.poll()
    # Of what is said only the end is waited for, where poll is known to tell that by itself.
    poll.register(0, 0 if sys.platform == "linux" else select.POLLIN)
    poll.register(nudge, select.POLLIN)
    poll.register(ended, select.POLLIN)
    if hasattr(os, "pidfd_open"):
        try:
            poll.register(os.pidfd_open(host), select.POLLIN)
        except OSError:
            pass  # it is dead already: the end of the pipe comes as well
    guarded: Guarded = {}
    rest, program, is_dead = b"", "", False
    while True:
        is_dead = is_dead or os.getppid() != host
        ready = {fd for fd, _ in poll.poll(0 if is_dead else None)}
        is_dead = is_dead or bool(ready - {0, nudge})
        if nudge in ready and not os.read(nudge, 4096):
            poll.unregister(nudge)
        # What was said is read to its end, also when the host dies meanwhile.
        data, is_end = _unread()
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            words = line.decode().split()
            if words == ["quit"]:
                return {}, program
            if words[0][0] == "=":
                program = words[0][1:]
            elif words[0][0] == "+":
                guarded[words[3]] = (int(words[0][1:]), int(words[1]), int(words[2]))
            else:
                guarded.pop(words[0][1:], None)
        if is_dead or is_end:
            return guarded, program


def _unread() -> tuple[bytes, bool]:
    """Return what is to be read now, and whether that is the end."""
    data = b""
    while True:
        try:
            more = os.read(0, 65536)
        except BlockingIOError:
            return data, False
        if not more:
            return data, True
        data += more


def _take_away(guarded: Guarded, program: str) -> None:
    from _members import HAS_PROC, looks, send, start_of  # type: ignore[import-not-found] # noqa: PLC0415 - the folder of this script is on the path

    # What is known by its number goes at once, however many processes there are to look at.
    for pid, first, last in guarded.values():
        if pid and (not HAS_PROC or first <= (start_of(pid) or 0) <= last):
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
    if not HAS_PROC:  # then the groups are all that can be seen from here
        return
    is_starting = any(pid == 0 for pid, _, _ in guarded.values())
    clean, wait, began = 0, _FIRST_PASS, time.monotonic()
    least = began + (_FOR_A_START if is_starting else 0.0)
    end = began + (_MOST_FOR_A_START if is_starting else _PATIENCE)
    sure, in_exec = 0, frozenset[tuple[int, int]]()
    while time.monotonic() < end and (
        (sure < _SURE_PASSES and clean < _UNSURE_PASSES) or time.monotonic() < least
    ):
        clean += 1
        if is_starting and program and _is_copy_left(program):
            clean, sure, wait, least = 0, 0, _SLOWEST_PASS, time.monotonic() + _FOR_A_START
        # a group's number is not reused while it has members
        roots = {
            vm_id: pid
            if pid and ((start := start_of(pid)) is None or first <= start <= last)
            else None
            for vm_id, (pid, first, last) in guarded.items()
        }
        seen = looks(roots, with_roots=True).values()
        sure = sure + 1 if all(look.is_sure for look in seen) else 0
        for member in {member for look in seen for member in look.left}:
            clean = sure = 0
            send(member, signal.SIGKILL)
        before, in_exec = in_exec, frozenset().union(*(look.in_exec for look in seen))
        if before & in_exec:  # maybe one of ours, which the machine does not let go on
            clean, wait = 0, _SLOWEST_PASS
        time.sleep(wait)


def _is_copy_left(program: str) -> bool:
    """Tell whether a child of the host still is the host's program: it may be about to exec.

    It shows its marker after that only. A copy that lives on as one is waited for in vain.
    """
    from _members import DEAD, program_of, stats  # noqa: PLC0415 - the same

    found = stats()
    me = found.get(os.getpid())  # the host's child as well, and older than what it was starting
    return me is not None and any(
        stat.parent == me.parent and stat.start >= me.start and stat.state not in DEAD
        and stat.pid != me.pid and program_of(stat.pid) == program
        for stat in found.values()
    )  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
