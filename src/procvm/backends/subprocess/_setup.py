"""What is set for a program before its first instruction, when a keeper starts it."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from typing import Any

from ..base import Plan
from ._launch import limits_of, user_words

__all__ = ["Facts", "host_facts", "setup_of"]

_RLIMITS = tuple(
    getattr(resource, name)
    for name in ("RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE",
                 "RLIMIT_RSS", "RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS")
)  # fmt: skip
User = tuple[int, int, tuple[int, ...]]
Facts = tuple[int, tuple[int, ...], tuple[tuple[int, int, int], ...], User]


def host_facts() -> Facts:
    """Return the host's nice value, affinity, limits and user, as a child of it would have.

    The keeper looks at the umask itself: here it would be a file to read.
    """
    limits = tuple((number, *resource.getrlimit(number)) for number in _RLIMITS)
    pid = os.getpid()
    cpus = tuple(sorted(os.sched_getaffinity(pid)))
    user = os.geteuid(), os.getegid(), tuple(os.getgroups())
    return os.getpriority(os.PRIO_PROCESS, pid), cpus, limits, user


def setup_of(
    plan: Plan, env: Mapping[str, str], began: Facts, now: Facts
) -> tuple[tuple[Any, ...] | None, Mapping[str, str]]:
    """Return what the keeper is to set (None: nothing), and the environment that follows."""
    config = plan.config
    if began == now and config.limits.is_empty and config.user is None:
        return None, env
    nice, cpus, limits, me = now
    wanted = {number: (number, soft, hard) for number, soft, hard in limits}
    for word, soft, hard in limits_of(config.limits):
        number = getattr(resource, word)
        wanted[number] = (number, soft, hard)
    if config.limits.nice is not None:
        nice = config.limits.nice
    if config.limits.cpu_affinity is not None:
        cpus = tuple(config.limits.cpu_affinity)
    who, told = user_words(plan, dict(env))
    user: User | None = None
    if who:
        user = who["user"], who["group"], tuple(who["extra_groups"])
    elif me != began[-1]:  # the host has become another since
        user = me
    return (nice, cpus, tuple(wanted.values()), user), told
