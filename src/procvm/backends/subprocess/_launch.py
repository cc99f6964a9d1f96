"""Whom a program runs as, its limits and its signals: set after the spawn, before its own exec."""

from __future__ import annotations

import _signal  # without the enums: it is asked before each start
import os
import signal as signals
import sys
from collections.abc import Mapping
from typing import Any

from ...config import Limits
from ...errors import StartError
from ..base import Plan
from ._errors import start_error

__all__ = ["launch_words", "limits_of", "uid_of", "user_words"]

_RESOURCES = {
    "memory": "RLIMIT_AS",
    "cpu_time": "RLIMIT_CPU",
    "open_files": "RLIMIT_NOFILE",
    "processes": "RLIMIT_NPROC",
    "file_size": "RLIMIT_FSIZE",
    "core": "RLIMIT_CORE",
}
_LARGEST = 2**63 - 1  # what the kernel's limits can hold

# A small program of its own instead of preexec_fn, which may deadlock a host with threads.
# Its interpreter may have put an LC_CTYPE of its own into the environment (PEP 538).
_LAUNCHER = """
import os, resource, signal, sys
limits, nice, cpus, program, ctype = eval(sys.argv[1])
try:
    if nice is not None: os.setpriority(os.PRIO_PROCESS, 0, nice)
    if cpus is not None: os.sched_setaffinity(0, cpus)
    for name, soft, hard in limits:
        top = resource.getrlimit(getattr(resource, name))[1]
        if top != resource.RLIM_INFINITY and os.geteuid():
            soft, hard = min(soft, top), min(hard, top)
        resource.setrlimit(getattr(resource, name), (soft, hard))
    os.environ.pop("LC_CTYPE", None)
    if ctype is not None: os.environ["LC_CTYPE"] = ctype
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execv(program, sys.argv[2:])
except OSError as e:
    os.write(2, ("procvm: limits or exec: %s\\n" % e).encode())
    os._exit(127)
"""
_LEFT_BY_POPEN = sorted(
    signals.valid_signals()
    - {signals.SIGKILL, signals.SIGSTOP}
    - {getattr(signals, name, None) for name in ("SIGPIPE", "SIGXFZ", "SIGXFSZ")}
)


def launch_words(plan: Plan, env: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the file to execute and its argv; a launcher's, where it has something to set."""
    config = plan.config
    if config.limits.is_empty and not (_are_inherited() and sys.executable):
        return plan.executable, list(config.command)
    if not sys.executable:
        why = "limits need a Python interpreter to set them, and sys.executable is empty"
        raise start_error(StartError, why, plan, step="limits")
    limits, ctype = config.limits, env.get("LC_CTYPE")
    told = limits_of(limits), limits.nice, limits.cpu_affinity, plan.executable, ctype
    data = repr(told)
    return sys.executable, [sys.executable, "-I", "-S", "-c", _LAUNCHER, data, *config.command]


def limits_of(limits: Limits) -> list[tuple[str, int, int]]:
    """Return each limit that is set: the kernel's name, the soft and the hard one.

    The hard limit of processor time is a second more: at the soft one the kernel sends SIGXCPU,
    which tells why, and where both are the same SIGKILL alone, see setrlimit(2).
    """
    values = [(name, word, getattr(limits, name)) for name, word in _RESOURCES.items()]
    return [
        (word, value, min(value + 1, _LARGEST) if name == "cpu_time" else value)
        for name, word, value in values
        if value is not None
    ]


def _are_inherited() -> bool:
    """Tell whether an exec from this thread would hand a signal on as ignored or blocked.

    Popen resets those that Python itself ignores (its restore_signals); a host under nohup
    ignores SIGHUP, and one that calls sigwait blocks what it waits for.
    """
    if _signal.pthread_sigmask(_signal.SIG_BLOCK, ()):
        return True
    return any(_signal.getsignal(number) is _signal.SIG_IGN for number in _LEFT_BY_POPEN)


def user_words(plan: Plan, env: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return Popen's words for the user to run as, and the environment that follows."""
    user = plan.config.user
    if user is None:
        return {}, env
    import pwd  # noqa: PLC0415 - for the few that name a user

    try:
        entry = pwd.getpwnam(user) if isinstance(user, str) else pwd.getpwuid(user)
    except KeyError:
        return {"user": user, "group": user, "extra_groups": []}, env
    told = {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    who = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}
    return who, {**env, **{k: v for k, v in told.items() if k not in plan.config.env}}


def uid_of(plan: Plan) -> int:
    """Return the number of the user that a program runs as."""
    who, _ = user_words(plan, {})
    uid: int = who.get("user", os.getuid())
    return uid
