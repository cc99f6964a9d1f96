"""Who belongs to a tree, where there is no /proc: through psutil, as far as one may see."""

from __future__ import annotations

import os
from typing import NamedTuple

import psutil

__all__ = ["Seen", "look", "start_of"]

_DEAD = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
_TICKS = 1_000_000  # a start in microseconds, as a whole number


class Seen(NamedTuple):
    """One process."""

    pid: int
    start: int
    command: str


def look(root: int | None, vm_id: str, marker: str) -> list[Seen]:
    """Return what lives of a tree beside its root: by group, session, marker and parents."""
    family = {root} if root is not None else set()
    everybody = {process.pid: process for process in psutil.process_iter()}
    parents: dict[int, int] = {}
    for pid, process in everybody.items():
        try:
            parents[pid] = process.ppid()
            if _is_of_group(pid, root) or process.environ().get(marker) == vm_id:
                family.add(pid)
        except (psutil.Error, OSError):
            continue  # gone, or another user's
    more = True
    while more:
        born = {pid for pid, parent in parents.items() if parent in family} - family
        family |= born
        more = bool(born)
    found = [_seen(everybody[pid]) for pid in family - {root, os.getpid()} if pid in everybody]
    return [one for one in found if one is not None]


def _is_of_group(pid: int, root: int | None) -> bool:
    try:
        return root is not None and root in (os.getpgid(pid), os.getsid(pid))
    except OSError:
        return False


def _seen(process: psutil.Process) -> Seen | None:
    try:
        if process.status() in _DEAD:
            return None
        return Seen(process.pid, int(process.create_time() * _TICKS), process.name())
    except psutil.Error:
        return None


def start_of(pid: int) -> int | None:
    """Return when a process started, in microseconds; None when there is none."""
    try:
        return int(psutil.Process(pid).create_time() * _TICKS)
    except psutil.Error:
        return None
