"""What the host does when its keeper has died: everything that carries its tags is killed."""

from __future__ import annotations

import os
import signal as signals
from collections.abc import Collection

from ...facts import Survivor
from ._belongs import tag_of
from ._members import DEAD, Member, members, send, stat_of

__all__ = ["sweep_marked", "sweep_tagged"]


def sweep_tagged(tags: Collection[int], mask: int, since: int) -> list[Survivor]:
    """Kill what carries one of ``tags``, is ours and began at ``since`` or later; return it."""
    found = []
    own = os.geteuid()
    for name in os.listdir("/proc"):  # noqa: PTH208 - a hot path
        if not name.isdigit() or int(name) == os.getpid():
            continue
        tag = tag_of(int(name))
        if tag is None or tag & mask not in tags:
            continue
        try:
            owner = os.stat(f"/proc/{name}").st_uid  # noqa: PTH116 - the same
        except OSError:  # gone meanwhile
            continue
        stat = stat_of(int(name))
        if (
            own in (0, owner) and stat is not None
            and stat.start >= since and stat.state not in DEAD
        ):  # fmt: skip
            send(Member(stat.pid, stat.start, stat.command), signals.SIGKILL)
            found.append(Survivor(stat.pid, stat.command))
    return found


def sweep_marked(pid: int | None, vm_id: str) -> list[Survivor]:
    """Kill what is found of a tree without a tag, by session, parents and marker."""
    left = members(pid, vm_id).left
    for member in left:
        send(member, signals.SIGKILL)
    return [Survivor(member.pid, member.command) for member in left]
