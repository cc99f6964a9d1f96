"""Which processes are there, for those who look for what was left behind."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal as signals
import time
from collections.abc import Collection

import psutil

from ._belongs import tag_of
from ._keeper import KEEPER, has_ended
from ._members import DEAD, MARKER, Member, environ_of, send, stat_of

__all__ = ["below", "marked", "put_down"]

_HAS_CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")  # noqa: PTH110 - once
_HAS_PROC = os.path.exists("/proc/self/stat")  # noqa: PTH110 - looked at once
_LOOKS, _BETWEEN_LOOKS = 5, 0.001


def below() -> list[Member]:
    """Return the descendants of this process, each with its whole argv, also the unreaped."""
    if not _HAS_CHILDREN:
        return [_member(process) for process in psutil.Process().children(recursive=True)]
    found: dict[int, Member] = {}
    parents = [os.getpid()]
    while parents:
        born = [pid for pid in _children(parents.pop()) if pid not in found]
        for pid in born:
            with contextlib.suppress(psutil.Error):  # gone meanwhile
                found[pid] = _member(psutil.Process(pid))
        parents += born
    return list(found.values())


def _children(parent: int) -> list[int]:
    """Return its children from the kernel's own list, the cost of which is theirs alone."""
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{parent}/task")  # noqa: PTH208 - a hot path
    except OSError:
        return found  # gone meanwhile
    for task in tasks:
        try:
            with open(f"/proc/{parent}/task/{task}/children", "rb") as file:  # noqa: PTH123 - the same
                found += map(int, file.read().split())
        except OSError:
            continue  # this thread is gone meanwhile
    return found


def marked(vm_ids: Collection[str]) -> list[Member]:
    """Return what lives and carries the mark of one of these VMs, or a tag of an ended keeper."""
    marks = {f"{MARKER}={vm_id}".encode() for vm_id in vm_ids}
    found = []
    for pid in psutil.pids():
        if pid != os.getpid() and (_is_marked(pid, marks) or _is_tagged(pid)):
            try:
                process = psutil.Process(pid)
            except psutil.Error:
                continue  # gone meanwhile
            if _is_alive(process):
                found.append(_member(process))
    return found


def put_down(member: Member) -> None:
    """Kill this very process, never one that has its number now."""
    if _HAS_PROC:
        send(member, signals.SIGKILL)


def _is_marked(pid: int, marks: set[bytes]) -> bool:
    if _HAS_PROC:
        return not marks.isdisjoint((environ_of(pid) or b"").split(b"\0"))
    try:
        value = psutil.Process(pid).environ().get(MARKER, "")
    except psutil.Error:
        return False
    return f"{MARKER}={value}".encode() in marks


def _is_tagged(pid: int) -> bool:
    """Whether a keeper that has ended started it, also when it has cleared its environment."""
    if not has_ended():
        return False
    with contextlib.suppress(OSError):  # no descriptor is left
        tag = tag_of(pid)
        return tag is not None and has_ended(tag)
    return False


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False


def _member(process: psutil.Process) -> Member:
    stat = stat_of(process.pid)
    if stat is not None and stat.state in DEAD:
        return Member(process.pid, stat.start, f"{stat.command}, ended and not reaped")
    try:
        words = _argv_of(process)
        argv = words[0] if words[:1] == [KEEPER] else shlex.join(words) or process.name()
    except psutil.Error:
        argv = "" if stat is None else stat.command
    start = stat.start if stat is not None else int(process.create_time() * 100)
    return Member(process.pid, start, argv)


def _argv_of(process: psutil.Process) -> list[str]:
    """Look again where there is none: in the middle of an exec it is empty for a moment."""
    for _ in range(_LOOKS):
        words = process.cmdline()
        if words:
            return words
        time.sleep(_BETWEEN_LOOKS)
    return []
