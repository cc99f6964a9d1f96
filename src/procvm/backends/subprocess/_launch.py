"""Whom a program runs as, and under what limits: set after the spawn, before its own exec."""

from __future__ import annotations

import os
import sys
from typing import Any

import attrs

from ...errors import StartError
from ..base import Plan
from ._errors import start_error

__all__ = ["RESOURCES", "launch_words", "uid_of", "user_words"]

RESOURCES = {
    "memory": "RLIMIT_AS",
    "cpu_time": "RLIMIT_CPU",
    "open_files": "RLIMIT_NOFILE",
    "processes": "RLIMIT_NPROC",
    "file_size": "RLIMIT_FSIZE",
    "core": "RLIMIT_CORE",
}

# A small program of its own instead of preexec_fn, which may deadlock a host with threads.
_LAUNCHER = """
import os, resource, signal, sys
limits, nice, cpus, program, argv = eval(sys.argv[1])
try:
    if nice is not None: os.setpriority(os.PRIO_PROCESS, 0, nice)
    if cpus is not None: os.sched_setaffinity(0, cpus)
    for name, value in limits:
        hard = resource.getrlimit(getattr(resource, name))[1]
        if hard != resource.RLIM_INFINITY and value > hard and os.geteuid(): value = hard
        resource.setrlimit(getattr(resource, name), (value, value))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.execv(program, argv)
except OSError as e:
    os.write(2, ("procvm: limits or exec: %s\\n" % e).encode())
    os._exit(127)
"""


def launch_words(plan: Plan) -> tuple[str, list[str]]:
    """Return the file to execute and its argv; with limits, a launcher that sets them first."""
    config = plan.config
    if config.limits.is_empty:
        return plan.executable, list(config.command)
    if not sys.executable:
        why = "limits need a Python interpreter to set them, and sys.executable is empty"
        raise start_error(StartError, why, plan, step="limits")
    values = attrs.asdict(config.limits)
    limits = [(RESOURCES[name], values[name]) for name in RESOURCES if values[name] is not None]
    data = (limits, values["nice"], values["cpu_affinity"], plan.executable, list(config.command))
    return sys.executable, [sys.executable, "-I", "-S", "-c", _LAUNCHER, repr(data)]


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
