"""The one place where the system's errors become ours."""

from __future__ import annotations

import errno
import os

import attrs

from ...errors import (
    NotExecutableError,
    ProgramNotFoundError,
    ResourceError,
    StartError,
    WorkingDirectoryError,
)  # fmt: skip
from ..base import Plan

__all__ = ["start_error", "translated"]

_KINDS: dict[int, type[StartError]] = {
    errno.ENOENT: ProgramNotFoundError,
    errno.ENOTDIR: ProgramNotFoundError,
    errno.ELOOP: ProgramNotFoundError,
    errno.ENAMETOOLONG: ProgramNotFoundError,
    errno.EACCES: NotExecutableError,
    errno.EPERM: NotExecutableError,
    errno.ENOEXEC: NotExecutableError,
    errno.EISDIR: NotExecutableError,
    errno.ETXTBSY: NotExecutableError,
    errno.E2BIG: ResourceError,
    errno.EAGAIN: ResourceError,
    errno.ENOMEM: ResourceError,
    errno.ENOSPC: ResourceError,
    errno.EFBIG: ResourceError,
    errno.EMFILE: ResourceError,
    errno.ENFILE: ResourceError,
}
_HINTS = {
    errno.E2BIG: "the arguments and the environment are too long together, or one of them is",
    errno.EAGAIN: "the limit of processes is reached",
    errno.EMFILE: "this process has no descriptor left: raise ulimit -n, or remove VMs",
    errno.ENFILE: "the machine has no descriptor left",
    errno.ENOMEM: "the machine has no memory left",
    errno.ENOSPC: "there is no room left for what is to be said to the keeper",
    errno.EFBIG: "the limit of a file's size is too small for what is to be said to the keeper",
    errno.ENOEXEC: "the system cannot run this file: it has no #! line",
}


def start_error(
    kind: type[StartError], why: str, plan: Plan, *, path: str | None = None,
    step: str = "resolve", number: int | None = None,
) -> StartError:  # fmt: skip
    """Return an error of ``kind`` with everything that is known."""
    config = plan.config
    return kind(
        why, name=config.name, argv=config.command, directory=plan.directory, path=path, step=step,
        errno=number,
    )  # fmt: skip


def translated(error: OSError, plan: Plan, step: str = "spawn") -> StartError:
    """Return what a system call's error means for a start."""
    number = error.errno or 0
    may_be_directory = number in (errno.ENOENT, errno.ENOTDIR, errno.EACCES)
    if may_be_directory and not os.access(plan.directory, os.X_OK):
        is_there = os.path.isdir(plan.directory)  # noqa: PTH112 - text in, text out
        state = "may not be entered" if is_there else "is not there"
        why = f"the directory {plan.directory!r} {state}"
        return start_error(
            WorkingDirectoryError, why, plan, path=plan.directory, step="directory", number=number
        )
    if step in ("limits", "user"):
        why = f"{step}: {os.strerror(number) if number else 'it failed before the program ran'}"
        if step == "limits":
            why += f"; not all of these can be had here: {_limits_in_words(plan)}"
        else:
            why += f"; this program may not run one as {plan.config.user!r}"
        return start_error(StartError, why, plan, step=step, number=number or None)
    why = _HINTS.get(number, f"{plan.executable!r}: {os.strerror(number)}")
    kind = _KINDS.get(number, StartError)
    return start_error(kind, why, plan, path=plan.executable, step=step, number=number)


def _limits_in_words(plan: Plan) -> str:
    """Return the limits that are set."""
    limits = attrs.asdict(plan.config.limits, filter=lambda _, value: value is not None)
    return ", ".join(f"{name}={value}" for name, value in limits.items())
