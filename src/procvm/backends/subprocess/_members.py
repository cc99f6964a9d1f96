"""Who belongs to a tree, read from /proc in one pass: group, session, parents and marker."""

from __future__ import annotations

import errno
import functools
import os
import signal as signals
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

__all__ = [
    "DEAD", "HAS_PROC", "MARKER", "Look", "Member", "alive", "environ_of", "family_of",
    "handle_of", "is_ending", "is_stopped", "looks", "members", "must_be_looked_at",
    "program_of", "send", "start_of", "stat_of", "stats", "young",
]  # fmt: skip

MARKER = "PROCVM_VM"
_MARKER = f"{MARKER}=".encode()
DEAD = frozenset("ZXx")
_KTHREADD = 2
_EXITING = 0x4  # PF_EXITING of the kernel's include/linux/sched.h
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
    flags: int
    start: int
    env_start: int
    env_end: int


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
        pid, command, words[0], int(words[1]), int(words[2]), int(words[3]), int(words[6]),
        int(words[19]), int(words[47]), int(words[48]),
    )  # fmt: skip


def is_ending(pid: int) -> bool:
    """Tell whether it has ended, or is about to: a stranger to all but root from there on."""
    stat = stat_of(pid)
    return stat is None or stat.state in DEAD or bool(stat.flags & _EXITING)


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
        is_sure: Everybody showed the environment, in which the marker is looked for, or had none.
        in_exec: Who was in the middle of an exec, by number and start: it shows none yet, however
            long a busy machine leaves it there.
        is_still: Nothing was forked meanwhile: a process that forks and ends between the listing
            and the look at it hides its child from this pass.
        is_blind: There was no descriptor to look with.
    """

    left: list[Member]
    is_sure: bool
    in_exec: frozenset[tuple[int, int]] = frozenset()
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


def young(root: int | None, age: float) -> range | None:
    """Return the numbers given out since ``root``, when they are few and did not begin anew.

    The kernel gives them out in order.

    Args:
        root: The main process's number, while nobody has reaped it; None: it may be reused.
        age: Seconds since before it was started.
    """
    if root is None or age * _MOST_FORKS >= _highest():
        return None
    last = _last_number()
    return range(root, last + 1) if root <= last < root + _FEW else None


def _is_thread(pid: int) -> bool:
    """Tell whether a number is a thread's: it is no directory of /proc, and yet can be opened."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:  # noqa: PTH123 - a hot path
            return f"\nTgid:\t{pid}\n".encode() not in file.read()
    except OSError:
        return True


def members(root: int | None, vm_id: str, some: range | None = None) -> Look:
    """Return what lives of a tree beside its root.

    Args:
        root: The main process's number, while nobody has reaped it; None: it may be reused.
        vm_id: What the marker in the environment says.
        some: What ``young`` returned of it.
    """
    if some is not None and len(some) == 1:  # no number was given out since its own
        return Look([], is_sure=True, is_still=_last_number() == some[0])
    return looks({vm_id: root}, some)[vm_id]


def looks(
    trees: Mapping[str, int | None], some: range | None = None, *, with_roots: bool = False
) -> dict[str, Look]:
    """Return what lives of several trees, each beside its root, seen in one pass.

    Args:
        trees: Of each the marker in the environment, and the root's number as for members.
        some: The numbers to look at, the last given out at the end, instead of all: some may
            be threads'.
        with_roots: Return those as well, and what carries a marker and is older than they are.
    """
    if not HAS_PROC:
        return {vm_id: _portable_look(root, vm_id) for vm_id, root in trees.items()}
    last = _last_number() if some is None else some[-1]
    found = stats(some)
    begins = {vm_id: 0 if with_roots else _start_in(found, root) for vm_id, root in trees.items()}
    tops, hidden, amid = _tops(trees, found, min(begins.values(), default=0))
    born = _children_in(found)
    is_still = last == _last_number()
    told = {}
    for vm_id, root in trees.items():
        began = begins[vm_id]
        family = _with_descendants(tops[vm_id], born) - {None if with_roots else root, os.getpid()}
        if some is not None:
            family = {pid for pid in family if not _is_thread(pid)}
        alive = (found[pid] for pid in family if pid in found and found[pid].state not in DEAD)
        told[vm_id] = Look(
            [Member(stat.pid, stat.start, stat.command) for stat in alive],
            is_sure=all(stat.start < began for stat in (*hidden, *amid)),
            in_exec=frozenset((stat.pid, stat.start) for stat in amid if stat.start >= began),
            is_still=is_still,
        )
    return told


def alive(some: Iterable[tuple[int, int]]) -> list[Member]:
    """Return those that are not dead yet, of processes by their number and start."""
    found = ((stat_of(pid), start) for pid, start in some) if HAS_PROC else ()
    return [
        Member(stat.pid, stat.start, stat.command)
        for stat, start in found
        if stat is not None and stat.start == start and stat.state not in DEAD
    ]


def _portable_look(root: int | None, vm_id: str) -> Look:
    from ._portable import look  # noqa: PLC0415 - psutil is for systems without /proc

    try:
        return Look([Member(*one) for one in look(root, vm_id, MARKER)], is_sure=True)
    except OSError:
        return Look([], is_sure=False, is_blind=True)


def _tops(
    trees: Mapping[str, int | None], found: Mapping[int, _Stat], began: int
) -> tuple[dict[str, set[int]], list[_Stat], list[_Stat]]:
    """Return each tree's own by root, group, session and marker of those who began since.

    And whose environment cannot be seen, and who is in the middle of an exec.
    """
    roots = {root: vm_id for vm_id, root in trees.items() if root is not None}
    tops = {vm_id: set() if root is None else {root} for vm_id, root in trees.items()}
    hidden: list[_Stat] = []
    amid: list[_Stat] = []
    for pid, stat in found.items():
        owners = {roots[one] for one in (pid, stat.group, stat.session) if one in roots}
        for vm_id in owners:
            tops[vm_id].add(pid)
        if owners or stat.start < began or stat.state in DEAD:
            continue
        environ, doubt = _shown_by(stat)
        if _MARKER in environ:
            for vm_id in _marks_in(environ) & tops.keys():
                tops[vm_id].add(pid)
        elif doubt != "none" and stat.parent not in (0, _KTHREADD):
            (amid if doubt == "exec" else hidden).append(stat)
    return tops, hidden, amid


def _shown_by(stat: _Stat) -> tuple[bytes, Literal["none", "exec", "hidden"]]:
    """Return its environment, and why there is none.

    A new program's is laid out at the end of its exec, until which env_end is 0: fs/proc/base.c,
    environ_read, and proc_pid_stat(5).
    """
    environ = environ_of(stat.pid)
    if environ != b"":
        return environ or b"", "none"
    now = stat_of(stat.pid)
    if now is None or now.start != stat.start or now.state in DEAD or now.flags & _EXITING:
        return b"", "none"
    if not now.env_end:
        return b"", "exec"
    if now.env_start == now.env_end:  # it was given none
        return b"", "none"
    environ = environ_of(stat.pid)  # it has just come out of its exec
    return environ or b"", "none" if environ != b"" else "hidden"


def _marks_in(environ: bytes) -> set[str]:
    words = environ.split(b"\0")
    return {os.fsdecode(word[len(_MARKER) :]) for word in words if word.startswith(_MARKER)}


def _start_in(found: Mapping[int, _Stat], root: int | None) -> int:
    return found[root].start if root is not None and root in found else 0


def stats(some: Iterable[int] | None = None) -> dict[int, _Stat]:
    """Return what /proc tells of every process that there is, or of those with some numbers."""
    if some is None:
        some = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - a hot path
    return {stat.pid: stat for stat in map(stat_of, some) if stat is not None}


def family_of(tops: set[int]) -> tuple[int, ...]:
    """Return ``tops`` and everything below them that lives."""
    if not HAS_PROC:
        return tuple(tops)  # psutil finds what is below them
    found = stats()
    family = _with_descendants(tops, _children_in(found))
    return tuple(pid for pid in family if pid in found and found[pid].state not in DEAD)


def _children_in(found: Mapping[int, _Stat]) -> dict[int, list[int]]:
    born: dict[int, list[int]] = {}
    for stat in found.values():
        born.setdefault(stat.parent, []).append(stat.pid)
    return born


def _with_descendants(tops: set[int], born: Mapping[int, list[int]]) -> set[int]:
    family: set[int] = set()
    more = list(tops)
    while more:  # children of a member are members, at any depth
        pid = more.pop()
        if pid not in family:
            family.add(pid)
            more += born.get(pid, ())
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
