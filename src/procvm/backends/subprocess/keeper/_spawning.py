"""How the keeper starts a program: a plain posix_spawn, or a fork where there is more to set."""

from __future__ import annotations

import _signal
import marshal
import posix
import resource
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from ._tags import Tags

__all__ = ["Order", "Setup", "SpawnError", "Spawned", "ignored_signals", "spawn"]

_SIGNALS = sorted(_signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP})


class Setup(NamedTuple):
    """What is set between fork and exec, None where it is left as it is."""

    nice: int | None
    cpus: tuple[int, ...] | None
    limits: tuple[tuple[int, int, int], ...]
    user: tuple[int, int, tuple[int, ...]] | None


class Order(NamedTuple):
    """One program to start."""

    file: bytes
    argv: tuple[bytes, ...]
    directory: bytes
    environment: Mapping[bytes, bytes]
    setup: Setup | None


class Spawned(NamedTuple):
    """One that runs: its number, and the read ends of its stdout and stderr."""

    pid: int
    stdout: int
    stderr: int


class SpawnError(Exception):
    """A start that failed: the errno, and what was being done."""


def spawn(order: Order, tag: int | None, tags: Tags, ignored: list[int]) -> Spawned:
    """Start it in a session of its own, carrying ``tag``; raises SpawnError."""
    ends: list[int] = []
    step = "spawn"
    try:
        ends += posix.pipe()
        ends += posix.pipe()
        tags.put_on(tag)
        if order.setup is not None:
            pid = _fork(order, ends)
        else:
            step = "directory"
            posix.chdir(order.directory)
            step = "spawn"
            pid = posix.posix_spawn(
                order.file, order.argv, order.environment,
                file_actions=[
                    (posix.POSIX_SPAWN_DUP2, ends[1], 1), (posix.POSIX_SPAWN_DUP2, ends[3], 2)
                ],
                setsid=True, setsigdef=ignored, setsigmask=(),
            )  # fmt: skip
    except Exception as e:  # posix_spawn has errors without a number too
        for end in ends:
            posix.close(end)
        if isinstance(e, SpawnError):
            raise
        raise SpawnError(getattr(e, "errno", 0) or 0, step) from e
    finally:
        tags.put_on(None)
        posix.chdir("/")  # so that no directory is held
    posix.close(ends[1])
    posix.close(ends[3])
    posix.set_blocking(ends[0], False)
    posix.set_blocking(ends[2], False)
    return Spawned(pid, ends[0], ends[2])


def ignored_signals() -> list[int]:
    """Return what an exec would leave ignored, by this process or by who started the host."""
    return [number for number in _SIGNALS if _signal.getsignal(number) is _signal.SIG_IGN]


def _fork(order: Order, ends: list[int]) -> int:
    """Fork, set, exec; what fails in the child comes back through a pipe that exec closes."""
    read, write = posix.pipe()
    try:
        pid = posix.fork()
    except OSError:
        posix.close(read)
        posix.close(write)
        raise
    if pid == 0:
        _child(order, ends, write)
    posix.close(write)
    told = posix.read(read, 4096)
    posix.close(read)
    if told:
        posix.waitpid(pid, 0)
        number, step = marshal.loads(told)  # noqa: S302 - our own child's
        raise SpawnError(number, step)
    return pid


def _child(order: Order, ends: list[int], write: int) -> NoReturn:
    step = "spawn"
    try:
        assert order.setup is not None  # noqa: S101 - forked for its sake
        posix.setsid()
        posix.dup2(ends[1], 1)
        posix.dup2(ends[3], 2)
        step = "directory"
        posix.chdir(order.directory)
        step = "limits"
        _set(order.setup)
        step = "user"
        if order.setup.user is not None:
            uid, gid, groups = order.setup.user
            posix.setgroups(groups)
            posix.setgid(gid)
            posix.setuid(uid)
        step = "spawn"
        for number in _SIGNALS:
            _signal.signal(number, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        posix.execve(order.file, order.argv, order.environment)
    except OSError as e:
        posix.write(write, marshal.dumps((e.errno or 0, step)))
    except BaseException:  # noqa: BLE001 - nobody is above in this child
        posix.write(write, marshal.dumps((0, step)))
    posix._exit(127)  # noqa: SLF001 - this child is a copy: none of its hooks may run


def _set(setup: Setup) -> None:
    if setup.nice is not None:
        posix.setpriority(posix.PRIO_PROCESS, 0, setup.nice)
    if setup.cpus is not None:
        posix.sched_setaffinity(0, setup.cpus)
    for number, soft, hard in setup.limits:
        top: Any = resource.getrlimit(number)[1]
        if top != resource.RLIM_INFINITY and posix.geteuid() != 0:  # not ours to raise
            soft, hard = (top if v == -1 or v > top else v for v in (soft, hard))  # noqa: PLW2901 - the pair as it may be
        resource.setrlimit(number, (soft, hard))
