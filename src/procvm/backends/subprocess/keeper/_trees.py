"""The trees that the keeper holds, and how they are taken away.

The topmost living ancestor of any process of a tree is its root, or a child of the keeper that
carries the tree's tag: so looking at the keeper's own children sees everything, and two looks
in a row without a find mean that nothing is left (one may miss a child, see ``own_children``).
"""

from __future__ import annotations

import _signal
import posix
import time
from collections.abc import Callable
from typing import Any

from ._kernel import (
    below,
    command_of,
    environment_of,
    is_stopped,
    own_children,
    send,
    send_group,
    send_to_child,
    session_of,
    tag_of,
)  # fmt: skip
from ._words import ENDED, GONE, MARKER, SURVIVED

__all__ = ["Tree", "Trees"]

_SPIN = 0.005  # seconds of looking without a pause, against what forks faster than we look
_SPIN_ONLY_BEFORE = 0.1
_FIRST_LOOK, _SLOWEST_LOOK = 0.001, 0.2
_PATIENCE = 0.5  # seconds from the kill until what is alive is told
_MOST_TOLD = 64
_MOST_ROUNDS = 20  # of one question; what forks faster is killed when its time is up
_WAKE = 0.02  # seconds from the question until stopped children are continued
_LONGEST_EXEC = 0.05  # seconds
_LONGEST_WAIT = 86400.0  # poll(2) takes milliseconds as an int: a grace of years would overflow it


class Tree:
    """One VM's processes."""

    def __init__(
        self, number: int, tag: int | None, mark: bytes, stop: tuple[int, float, str]
    ) -> None:
        self.number, self.tag, self.mark = number, tag, mark
        self.signal, self.grace, self.to = stop
        self.pid = b""
        self.status: tuple[int | None, int | None] | None = None
        self.deadline: float | None = None
        self.wake_at: float | None = None
        self.killed_at: float | None = None
        self.look_at = 0.0
        self.pause = _FIRST_LOOK
        self.clean = 0
        self.asked: set[bytes] = set()
        self.has_told_end = self.has_told_survivors = False


def _send(pid: bytes, parent: bytes, *numbers: int) -> bool:
    """Signal one of what ``Trees._members`` names; ``parent`` b"" is the keeper itself."""
    if parent:
        return send(pid, parent, *numbers)
    send_to_child(pid, *numbers)
    return True


class Trees:
    """All of them; ``tell`` gets facts for the host, ``mask`` is what tags have of their own."""

    def __init__(self, tell: Callable[..., None], mask: int | None) -> None:
        self._tell, self._mask = tell, mask
        self.roots: dict[bytes, Tree] = {}
        self.numbers: dict[int, Tree] = {}
        self.tags: dict[int, Any] = {}
        self._strays: dict[bytes, Tree | None] = {}
        self._blank: dict[bytes, float] = {}  # since when one of them has no environment
        self._leaving: set[Tree] = set()  # ended, or to be killed: looked at until it is gone

    def add(self, tree: Tree, pid: int) -> None:
        """Hold one more."""
        tree.pid = b"%d" % pid
        self.roots[tree.pid] = self.numbers[tree.number] = tree
        if tree.tag is not None:
            self.tags[tree.tag] = tree

    # --- requests ---------------------------------------------------------------------

    def stop(self, tree: Tree, grace: float) -> None:
        """Take it away within ``grace`` seconds: first asked, then killed."""
        now = time.monotonic()
        due = now + grace
        if tree.has_told_survivors:  # asked once more
            tree.has_told_survivors, tree.killed_at, tree.pause = False, None, _FIRST_LOOK
            tree.deadline = due
        else:
            is_first = tree.deadline is None
            tree.deadline = due if tree.deadline is None else min(due, tree.deadline)
            if is_first and grace > 0 and tree.status is None:
                self._ask(tree)
                tree.wake_at = now + _WAKE
        if tree.deadline <= now or tree.status is not None:
            self._leaving.add(tree)
            tree.look_at = now

    def _ask(self, tree: Tree) -> None:
        if tree.to == "tree":
            self._ask_all(tree)
        else:
            tree.asked.add(tree.pid)
            _send(tree.pid, b"", tree.signal, _signal.SIGCONT)

    def _ask_all(self, tree: Tree) -> None:
        """Ask each process once, and never twice: to some a second SIGTERM means to abort.

        A stopped program hears nothing but SIGCONT.
        """
        self._to_each(tree, tree.asked, tree.signal, _signal.SIGCONT)

    def _to_each(self, tree: Tree, done: set[bytes], *numbers: int) -> None:
        """Signal each process that is not among those ``done``, and add it to them.

        Who ends by that gives its children another parent while they are being signalled, so
        whoever was missed is looked for again.
        """
        for _ in range(_MOST_ROUNDS):
            self._look()
            others = [pair for pair in self._members(tree) if pair[0] not in done]
            reached = {pid for pid, parent in others if _send(pid, parent, *numbers)}
            done |= reached
            if len(reached) == len(others):
                break

    def _wake(self, tree: Tree) -> None:
        """Continue its stopped children: what their parent asks of them they hear else never."""
        tree.wake_at = None
        self._look()
        moving = {pid for pid, _ in self._members(tree) if not is_stopped(pid)}
        self._to_each(tree, moving, _signal.SIGCONT)

    def signal(self, tree: Tree, number: int, to: str) -> None:
        """Signal the main process, or everything."""
        if to == "tree":
            self._to_each(tree, set(), number)
        elif tree.status is None:
            send_to_child(tree.pid, number)

    def _members(self, tree: Tree) -> list[tuple[bytes, bytes]]:
        """Return its processes with their parents, b"" for the keeper's own children."""
        tops = [pid for pid, whose in self._strays.items() if whose is tree]
        if tree.status is None:
            tops.append(tree.pid)
        return [pair for top in tops for pair in ((top, b""), *below(top))]

    def end(self) -> None:
        """Kill everything, for nobody is left to ask."""
        for tree in self.numbers.values():
            self.stop(tree, 0.0)

    def kill_the_unknown(self) -> bool:
        """Kill whatever else is the keeper's child; True when nothing is."""
        self._look()
        for pid in self._strays:
            self._kill_from(pid)
        return not self._strays and not self.roots

    # --- what the kernel tells ----------------------------------------------------------

    def reap(self) -> None:
        """Collect every child that has ended."""
        while True:
            try:
                end = posix.waitid(posix.P_ALL, 0, posix.WEXITED | posix.WNOHANG)
            except ChildProcessError:
                return
            if end is None:
                return
            pid = b"%d" % end.si_pid
            self._strays.pop(pid, None)
            self._blank.pop(pid, None)
            tree = self.roots.pop(pid, None)
            if tree is not None:
                exited = end.si_code == posix.CLD_EXITED
                tree.status = (end.si_status, None) if exited else (None, end.si_status)
                tree.clean, tree.look_at = 0, 0.0
                self._leaving.add(tree)

    def patience(self) -> float | None:
        """Return the seconds until something is due; None for ever."""
        if not self._leaving and all(t.deadline is None for t in self.numbers.values()):
            return None
        dues = [t.look_at for t in self._leaving]
        dues += [
            t.deadline if t.wake_at is None else min(t.wake_at, t.deadline)
            for t in self.numbers.values()
            if t.deadline is not None and t not in self._leaving
        ]  # fmt: skip
        return min(max(0.0, min(dues) - time.monotonic()), _LONGEST_WAIT)

    def settle(self) -> None:
        """Look at what is leaving, ask or kill what is left of it, and tell what is gone."""
        began = now = time.monotonic()
        for tree in self.numbers.values():
            if tree.deadline is not None and tree.deadline <= now:
                self._leaving.add(tree)
            if tree.wake_at is not None and tree.wake_at <= now:
                self._wake(tree)
        again = bool(self._leaving)
        while again:
            self._look()
            left: dict[Tree, list[bytes]] = {tree: [] for tree in self._leaving}
            for pid, whose in self._strays.items():
                if whose is not None and whose in left:
                    left[whose].append(pid)
            now = time.monotonic()
            again = False
            for tree, pids in left.items():
                again |= self._deal(tree, pids, now)
            self.reap()
            if now - began > _SPIN:
                break
        for tree in self._leaving:
            if tree.look_at <= now:
                tree.look_at = now + tree.pause
                tree.pause = min(tree.pause * 2, _SLOWEST_LOOK)

    def _look(self) -> None:
        """See who is the keeper's child now, and whose tree each newcomer is of."""
        children = own_children()
        for pid in self._strays.keys() - children:
            del self._strays[pid]
            self._blank.pop(pid, None)
        for pid in children - self.roots.keys():
            if self._strays.get(pid) is None:  # new, or nobody's so far: see _whose
                self._strays[pid] = self._whose(pid)

    def _whose(self, pid: bytes) -> Tree | None:
        """Tell by its tag, or by session and marker: in an exec the environment reads empty."""
        tag = tag_of(pid) if self._mask is not None else None
        if tag is not None and self._mask is not None:
            found: Tree | None = self.tags.get(tag & self._mask)
            if found is not None:
                return found
        session, environ = session_of(pid), environment_of(pid).split(b"\0")
        for tree in self.numbers.values():
            if tree.pid == session or MARKER + b"=" + tree.mark in environ:
                return tree
        if environ == [b""]:
            self._blank.setdefault(pid, time.monotonic())
        return None

    def _is_sure(self, now: float) -> bool:
        """Whether nobody's children are nobody's: untagged, one in an exec may be anybody's."""
        if self._mask is not None:
            return True
        blank = (self._blank.get(pid) for pid, whose in self._strays.items() if whose is None)
        return all(since is None or now - since > _LONGEST_EXEC for since in blank)

    def _deal(self, tree: Tree, left: list[bytes], now: float) -> bool:
        """Do what is due for one tree; True when it is to be looked at once more at once."""
        if not left and tree.status is not None:
            tree.clean += self._is_sure(now)
            if tree.clean > 1:
                self._finish(tree)
            return True
        tree.clean = 0
        if tree.status is not None and not tree.has_told_end:
            tree.has_told_end = True
            self._tell((ENDED, tree.number, *tree.status, False))
        if tree.deadline is None:
            tree.deadline = now + tree.grace
        if tree.deadline > now:
            self._ask_all(tree)
            tree.look_at = tree.deadline
            return False
        self._kill(tree, left)
        tree.killed_at = now if tree.killed_at is None else tree.killed_at
        if now - tree.killed_at > _PATIENCE and not tree.has_told_survivors:
            tree.has_told_survivors = True
            alive = [(int(p), command_of(p)) for p, _ in self._members(tree)[:_MOST_TOLD]]
            self._tell((SURVIVED, tree.number, tuple(alive)))
        return now - tree.killed_at < _SPIN_ONLY_BEFORE

    def _kill(self, tree: Tree, left: list[bytes]) -> None:
        if tree.status is None:
            self._kill_from(tree.pid)
        for pid in left:
            self._kill_from(pid)

    def _kill_from(self, top: bytes) -> None:
        family = below(top)
        send_group(top, _signal.SIGKILL)
        send_to_child(top, _signal.SIGKILL)
        for pid, parent in family:
            send(pid, parent, _signal.SIGKILL)

    def _finish(self, tree: Tree) -> None:
        del self.numbers[tree.number]
        self._leaving.discard(tree)
        if tree.tag is not None:
            del self.tags[tree.tag]
        if tree.has_told_end:
            self._tell((GONE, tree.number))
        else:
            assert tree.status is not None  # noqa: S101 - only what has ended is finished
            self._tell((ENDED, tree.number, *tree.status, True))
