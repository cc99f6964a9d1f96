"""Who belongs to a tree, read from /proc in one pass: group, session, parents and marker."""

from __future__ import annotations

import errno
import functools
import os
import signal as signals
from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "DEAD", "MARKER", "Look", "Member", "environ_of", "family_of", "handle_of", "is_stopped",
    "members", "members_of_all", "must_be_looked_at", "program_of", "send", "start_of", "stat_of",
    "stats",
]  # fmt: skip

MARKER = "PROCVM_VM"
DEAD = frozenset("ZXx")
_KTHREADD = 2
_MOST_FORKS = 1_000_000  # a second: more than the kernel's one lock over the numbers lets through
_FEW = 256
_MOST_WORDS = 1024
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
    """What one pass over the processes found.

    Attributes:
        left: What lives of the tree beside its root.
        is_sure: Nobody was in the middle of an exec, when a process shows no environment.
        is_still: Nothing was forked meanwhile: a process that forks and ends between the listing
            and the look at it hides its child from this pass.
        is_blind: There was no descriptor to look with.
    """

    left: list[Member]
    is_sure: bool
    is_still: bool = True
    is_blind: bool = False


@functools.cache
def _highest() -> int:
    """Return the number after which the kernel begins anew (proc_sys_kernel(5), pid_max)."""
    try:
        with open("/proc/sys/kernel/pid_max", "rb") as file:  # noqa: PTH123 - a hot path
            return int(file.read())
    except (OSError, ValueError):
        return 0


def _last_number() -> int:
    """Return the number given out last, proc_loadavg(5); 0 where that is not told."""
    try:
        with open("/proc/loadavg", "rb") as file:  # noqa: PTH123 - a hot path
            return int(file.read().split()[-1])
    except OSError as e:
        must_be_looked_at(e)
        return 0
    except (ValueError, IndexError):
        return 0


def _younger(root: int, last: int, age: float) -> range | None:
    """Return the numbers given out after ``root``, when they are few and did not begin anew.

    The kernel gives them out in order.
    """
    is_young = age * _MOST_FORKS < _highest()
    return range(root, last + 1) if is_young and root <= last < root + _FEW else None


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
    last = _last_number()
    some = _younger(root, last, age) if root is not None else None
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
    left = [Member(stat.pid, stat.start, stat.command) for stat in alive]
    return Look(left, is_sure, is_still=last == _last_number())


def members_of_all(roots: set[int], vm_ids: Iterable[str]) -> list[Member]:
    """Return what lives of several trees in one pass, their roots included.

    Args:
        roots: The main processes' numbers, while they or their groups are certainly theirs.
        vm_ids: What the markers in the environments say.
    """
    found = stats()
    marks = {f"{MARKER}={vm_id}".encode() for vm_id in vm_ids}
    tops = roots | {p for p, stat in found.items() if stat.group in roots or stat.session in roots}
    for pid in found.keys() - tops:
        if not marks.isdisjoint((environ_of(pid) or b"").split(b"\0")):
            tops.add(pid)
    family = _with_descendants(tops, found) - {os.getpid()}
    alive = (found[pid] for pid in family if pid in found and found[pid].state not in DEAD)
    return [Member(stat.pid, stat.start, stat.command) for stat in alive]


def stats() -> dict[int, _Stat]:
    """Return what /proc tells of every process that there is."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - a hot path
    return {stat.pid: stat for stat in map(stat_of, pids) if stat is not None}


def family_of(tops: set[int]) -> tuple[int, ...]:
    """Return ``tops`` and everything below them that lives."""
    if not HAS_PROC:
        return tuple(tops)  # psutil finds what is below them
    found = stats()
    family = _with_descendants(tops, found)
    return tuple(pid for pid in family if pid in found and found[pid].state not in DEAD)


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


def program_of(pid: int) -> str:
    """Return what a process executes and its words, as one long number; "" when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - pathlib takes long to load
            words = file.read(_MOST_WORDS)
        return (os.fsencode(os.readlink(f"/proc/{pid}/exe")) + b"\0" + words).hex()  # noqa: PTH115 - the same
    except OSError:
        return ""


def is_stopped(pid: int) -> bool:
    """Tell whether a signal has stopped a process; where there is no /proc it may be so."""
    stat = stat_of(pid) if HAS_PROC else None
    return not HAS_PROC or (stat is not None and stat.state == "T")


def handle_of(pid: int) -> int | None:
    """Return a pidfd; None where the system has none, or refuses them.

    Raises:
        OSError: The process is gone, or no descriptor is left.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as e:
        if e.errno in (errno.ENOSYS, errno.EPERM, errno.EINVAL):
            return None
        raise


def send(member: Member, number: int) -> None:
    """Send a signal to this very process, never to one that has its number now.

    Raises:
        OSError: No descriptor is left to hold it by.
    """
    handle = None
    try:
        handle = handle_of(member.pid)
        if start_of(member.pid) != member.start:
            return
        if handle is not None:
            signals.pidfd_send_signal(handle, number)
        else:
            os.kill(member.pid, number)  # the second best: it was there a moment ago
    except OSError as e:
        must_be_looked_at(e)  # else gone meanwhile, or another user's: told as a survivor
    finally:
        if handle is not None:
            os.close(handle)
