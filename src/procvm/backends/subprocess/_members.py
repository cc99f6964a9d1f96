"""Who belongs to a tree, read from /proc in one pass: group, session, parents and marker."""

from __future__ import annotations

import os
import signal as signals
from typing import NamedTuple

__all__ = ["DEAD", "MARKER", "Look", "Member", "members", "send", "start_of", "stat_of"]

MARKER = "PROCVM_VM"
DEAD = frozenset("ZXx")
_KTHREADD = 2


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


def stat_of(pid: int) -> _Stat | None:
    """Return what /proc/PID/stat says (proc_pid_stat(5)); None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - a hot path
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return None
    head, _, tail = text.rpartition(")")
    words = tail.split()
    command = head.partition("(")[2]
    return _Stat(
        pid, command, words[0], int(words[1]), int(words[2]), int(words[3]), int(words[19])
    )


def _environ(pid: int) -> bytes | None:
    """Return its environment; None when it is gone or another user's."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - a hot path
            return file.read()
    except OSError:
        return None


class Look(NamedTuple):
    """What one pass over /proc found; ``is_sure`` unless somebody was in the middle of an exec."""

    left: list[Member]
    is_sure: bool


def members(root: int | None, vm_id: str) -> Look:
    """Return what lives of a tree beside its root.

    Args:
        root: The main process's number, while nobody has reaped it; None: it may be reused.
        vm_id: What the marker in the environment says.
    """
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - a hot path
    except OSError:
        return Look([], is_sure=True)  # no /proc: the group is all that is known
    stats = {stat.pid: stat for stat in map(stat_of, pids) if stat is not None}
    began = stats[root].start if root is not None and root in stats else 0
    marker = f"{MARKER}={vm_id}".encode()
    found, is_sure = set(), True
    for pid, stat in stats.items():
        if root is not None and root in (stat.group, stat.session):
            found.add(pid)
        elif stat.start >= began and stat.state not in DEAD:
            environ = _environ(pid)
            if environ is not None and marker in environ.split(b"\0"):
                found.add(pid)
            elif environ == b"" and stat.parent not in (0, _KTHREADD):
                is_sure = False  # in the middle of an exec the environment reads empty
    family = _with_descendants(found | ({root} if root is not None else set()), stats)
    family -= {root, os.getpid()}
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
    stat = stat_of(pid)
    return None if stat is None else stat.start


def send(member: Member, number: int) -> None:
    """Send a signal to this very process, never to one that has its number now."""
    if hasattr(os, "pidfd_open"):
        try:
            handle = os.pidfd_open(member.pid)
        except OSError:
            return
        try:
            now = stat_of(member.pid)
            if now is not None and now.start == member.start:
                signals.pidfd_send_signal(handle, number)
        except OSError:
            pass  # gone meanwhile, or another user's: it is told as a survivor
        finally:
            os.close(handle)
