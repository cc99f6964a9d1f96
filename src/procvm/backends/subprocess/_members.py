"""Who belongs to a tree, read from /proc in one pass: group, session, parents and marker."""

from __future__ import annotations

import errno
import functools
import os
import signal as signals
from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "DEAD", "MARKER", "Look", "Member", "environ_of", "members", "must_be_looked_at", "send",
    "start_of", "stat_of",
]  # fmt: skip

MARKER = "PROCVM_VM"
DEAD = frozenset("ZXx")
_KTHREADD = 2
_MOST_FORKS = 1_000_000  # a second: more than the kernel's one lock over the numbers lets through
_FEW = 256
HAS_PROC = os.path.exists("/proc/self/stat")  # noqa: PTH110 - looked at once


class Member(NamedTuple):
    """One process: its number, when it started (ticks since boot), and what it is called."""

    pid: int
    start: int
    command: str


class _Stat(NamedTuple):
    pid: int
    command: str
    state: str
    parent: int
    group: int
    session: int
    start: int


def must_be_looked_at(error: OSError) -> None:
    """Raise what says nothing of the process, but of us: that we have no descriptor to look."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        raise error


def stat_of(pid: int) -> _Stat | None:
    """Return what /proc/PID/stat says (proc_pid_stat(5)); None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - a hot path
            text = file.read().decode("utf-8", "replace")
    except OSError as e:
        must_be_looked_at(e)
        return None
    head, _, tail = text.rpartition(")")
    words = tail.split()
    command = head.partition("(")[2]
    return _Stat(
        pid, command, words[0], int(words[1]), int(words[2]), int(words[3]), int(words[19])
    )


def environ_of(pid: int) -> bytes | None:
    """Return its environment; None when it is gone or another user's."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - a hot path
            return file.read()
    except OSError as e:
        must_be_looked_at(e)
        return None


class Look(NamedTuple):
    """What one pass over /proc found; ``is_sure`` unless somebody was in the middle of an exec."""

    left: list[Member]
    is_sure: bool


@functools.cache
def _highest() -> int:
    """Return the number after which the kernel begins anew (proc_sys_kernel(5), pid_max)."""
    try:
        with open("/proc/sys/kernel/pid_max", "rb") as file:  # noqa: PTH123 - a hot path
            return int(file.read())
    except (OSError, ValueError):
        return 0


def _younger(root: int, age: float) -> range | None:
    """Return the numbers given out after ``root``, when they are few and did not begin anew.

    The kernel gives them out in order, and names the last in /proc/loadavg (proc_loadavg(5)).
    """
    if age * _MOST_FORKS >= _highest():
        return None
    try:
        with open("/proc/loadavg", "rb") as file:  # noqa: PTH123 - a hot path
            last = int(file.read().split()[-1])
    except (OSError, ValueError, IndexError):
        return None
    return range(root, last + 1) if root <= last < root + _FEW else None


def _is_thread(pid: int) -> bool:
    """Tell whether a number is a thread's: it is no directory of /proc, and yet can be opened."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:  # noqa: PTH123 - a hot path
            return f"\nTgid:\t{pid}\n".encode() not in file.read()
    except OSError:
        return True


def members(root: int | None, vm_id: str, age: float = float("inf")) -> Look:
    """Return what lives of a tree beside its root.

    Args:
        root: The main process's number, while nobody has reaped it; None: it may be reused.
        vm_id: What the marker in the environment says.
        age: Seconds since before the root was started: of a young one the numbers given out
            since are looked at alone, whatever the machine holds.
    """
    if not HAS_PROC:
        from ._portable import look  # noqa: PLC0415 - psutil is for systems without /proc

        return Look([Member(*one) for one in look(root, vm_id, MARKER)], is_sure=True)
    some = _younger(root, age) if root is not None else None
    names = () if some else os.listdir("/proc")  # noqa: PTH208 - a hot path
    pids: Iterable[int] = some or [int(name) for name in names if name.isdigit()]
    stats = {stat.pid: stat for stat in map(stat_of, pids) if stat is not None}
    began = stats[root].start if root is not None and root in stats else 0
    marker = f"{MARKER}={vm_id}".encode()
    found, is_sure = set(), True
    for pid, stat in stats.items():
        if root is not None and root in (stat.group, stat.session):
            found.add(pid)
        elif stat.start >= began and stat.state not in DEAD:
            environ = environ_of(pid)
            if environ is not None and marker in environ.split(b"\0"):
                found.add(pid)
            elif environ == b"" and stat.parent not in (0, _KTHREADD):
                is_sure = False  # in the middle of an exec the environment reads empty
    family = _with_descendants(found | ({root} if root is not None else set()), stats)
    family -= {root, os.getpid()}
    if some is not None:
        family = {pid for pid in family if not _is_thread(pid)}
    alive = (stats[pid] for pid in family if pid in stats and stats[pid].state not in DEAD)
    return Look([Member(stat.pid, stat.start, stat.command) for stat in alive], is_sure)


def _with_descendants(family: set[int], stats: dict[int, _Stat]) -> set[int]:
    more = True
    while more:  # children of a member are members, at any depth
        born = {pid for pid, stat in stats.items() if stat.parent in family} - family
        family = family | born
        more = bool(born)
    return family


def start_of(pid: int) -> int | None:
    """Return when a process started, in ticks since boot; None when there is none."""
    if not HAS_PROC:
        from . import _portable  # noqa: PLC0415 - the same

        return _portable.start_of(pid)
    stat = stat_of(pid)
    return None if stat is None else stat.start


def send(member: Member, number: int) -> None:
    """Send a signal to this very process, never to one that has its number now."""
    if not hasattr(os, "pidfd_open"):
        if start_of(member.pid) == member.start:  # the second best: another may come in between
            try:
                os.kill(member.pid, number)
            except OSError:
                pass  # gone meanwhile, or another user's
        return
    try:
        handle = os.pidfd_open(member.pid)
    except OSError as e:
        must_be_looked_at(e)
        return
    try:
        if start_of(member.pid) == member.start:
            signals.pidfd_send_signal(handle, number)
    except OSError as e:
        must_be_looked_at(e)  # else gone meanwhile, or another user's: told as a survivor
    finally:
        os.close(handle)
