"""What a config means on this machine: looks, and starts nothing."""

from __future__ import annotations

import errno
import functools
import os
import stat

import attrs

from ...config import VMConfig
from ...errors import (
    ConfigError,
    NotExecutableError,
    ProgramNotFoundError,
    StartError,
    WorkingDirectoryError,
    shortened,
)  # fmt: skip
from ..base import Plan
from ._environment import search_path_of
from ._errors import start_error
from ._existing import Reaches
from ._hints import hint_of
from ._processors import processors_for

__all__ = ["renewed", "resolve"]

_FIRST_BYTES = 256
_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
_reaches = Reaches()


def resolve(config: VMConfig, base: str) -> Plan:
    """Return the directory and the file that ``config`` names, or raise a StartError.

    Every look may hand over the interpreter lock, which costs 5 ms beside a thread that computes
    (and none may keep it: a file system may hang). So there are few, and none at the host's own
    directory: should it be closed to this user, the start itself tells.
    """
    path = base if config.path == "." else os.path.join(base, config.path)  # noqa: PTH118 - an absolute path stays itself
    plan, found = Plan(config, base, directory=path), None
    if config.path == "." or _is_directory(path, plan):
        file, found = _look_up(plan)
        plan = attrs.evolve(plan, executable=file)
    else:
        if config.command[0].startswith("-"):
            why = "path names a program, and command is its whole argv: begin with its name"
            raise ConfigError("command", config.command[0], why)
        plan = attrs.evolve(plan, executable=path, directory=base)
    _check_file(plan, found)
    _check_log(plan)
    _check_user(plan)
    _check_processors(plan)
    return plan


def renewed(plan: Plan) -> Plan:
    """Return ``plan`` when its program is still there to be run, else what is found now.

    Raises:
        StartError: It is not, or a processor that it asks for is not there any more.
    """
    try:
        _check_file(plan)
        _check_processors(plan)
    except StartError:
        return resolve(plan.config, plan.base)
    return plan


def _is_directory(path: str, plan: Plan) -> bool:
    """Tell whether it is one and may be entered, or else is a file; anything else is an error."""
    try:
        os.stat(os.path.join(path, "."))  # noqa: PTH116, PTH118 - one look for both
    except OSError:
        pass
    else:
        return True
    try:
        is_directory = stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 - errors are wanted raw
    except OSError as e:
        why = f"path {path[:200]!r}: {e.strerror}{hint_of(plan.config.path)}"
        raise start_error(
            WorkingDirectoryError, why, plan, path=path, step="directory", number=e.errno
        ) from e
    if is_directory and os.access(path, os.X_OK):
        return True  # its name alone was too long
    if is_directory:
        why = f"the directory {path!r} may not be entered"
        raise start_error(
            WorkingDirectoryError, why, plan, path=path, step="directory", number=errno.EACCES
        )
    return False


def _look_up(plan: Plan) -> tuple[str, os.stat_result | None]:
    """Return the first file on the PATH that may be executed, as a shell would, and its facts."""
    word = plan.config.command[0]
    if "/" in word:
        return os.path.join(plan.directory, word), None  # noqa: PTH118 - an absolute word stays itself
    search = search_path_of(plan.config)
    files = _places(plan.directory, _DEFAULT_PATH if search is None else search, word)
    for file in _reaches.worth_a_look(files):
        try:
            found = os.stat(file)  # noqa: PTH116 - errors are wanted raw
        except OSError:
            continue
        may_run = stat.S_ISREG(found.st_mode) and found.st_mode & _EXECUTABLE
        if may_run and (_is_binary(file, _identity(found)) or os.access(file, os.X_OK)):
            _reaches.found(file, files)
            return file, found
    for file in files:
        if os.path.isfile(file):  # noqa: PTH113 - text in, text out
            return file, None  # it may not be executed, and that is told
    why = f"no program {word[:200]!r} on the VM's own PATH{hint_of(word, plan.directory)}"
    raise start_error(ProgramNotFoundError, why, plan, path=word, number=errno.ENOENT)


@functools.lru_cache(maxsize=128)
def _places(directory: str, search: str, word: str) -> tuple[str, ...]:
    """Return where it may be: names alone, and nothing of what is there."""
    return tuple(os.path.join(directory, folder, word) for folder in search.split(":"))  # noqa: PTH118 - an absolute folder stays itself


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _check_file(plan: Plan, found: os.stat_result | None = None) -> None:
    """Raise unless ``plan.executable`` can be run; ``found``: what is known of it already."""
    file = plan.executable
    try:
        found = found or os.stat(file)  # noqa: PTH116 - errors are wanted raw
    except OSError as e:
        why = f"{file[:200]!r}: {e.strerror}{hint_of(plan.config.command[0])}"
        raise start_error(ProgramNotFoundError, why, plan, path=file, number=e.errno) from e
    if stat.S_ISDIR(found.st_mode):
        why = f"{file!r} is a directory"
        raise start_error(NotExecutableError, why, plan, path=file, number=errno.EISDIR)
    if not stat.S_ISREG(found.st_mode):
        why = f"{file!r} is no regular file"
        raise start_error(NotExecutableError, why, plan, path=file, number=errno.EACCES)
    if _is_binary(file, _identity(found)):
        return
    if not os.access(file, os.X_OK):
        why = f"{file!r} is not executable: chmod +x, or name its interpreter{_by_path(plan)}"
        raise start_error(NotExecutableError, why, plan, path=file, number=errno.EACCES)
    try:
        first = _first_bytes(file)
    except OSError:
        return  # executable and not readable: the kernel will tell
    _check_first_bytes(plan, first)


def _by_path(plan: Plan) -> str:
    """Return what is to be said of a program that ``path`` names, and not the command."""
    if plan.config.path == "." or plan.executable == plan.directory:
        return ""
    named = os.path.join(plan.base, plan.config.path)  # noqa: PTH118 - the same
    return "; path is the directory to run in, or the program" * (plan.executable == named)


@functools.lru_cache(maxsize=256)
def _is_binary(file: str, this: tuple[int, ...]) -> bool:  # noqa: ARG001 - a changed file is another
    """Tell whether it may be executed and is no text; looked at once for each of its states."""
    try:
        first = _first_bytes(file)
    except OSError:
        return False
    return b"\0" in first and not first.startswith(b"#!") and os.access(file, os.X_OK)


def _first_bytes(file: str) -> bytes:
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(fd, _FIRST_BYTES)
    finally:
        os.close(fd)


def _check_first_bytes(plan: Plan, first: bytes) -> None:
    file = plan.executable
    if first.startswith(b"#!"):
        words = first[2:].split(b"\n", 1)[0].strip(b" \t").split(None, 1)
        line = first[2:].split(b"\n", 1)[0].strip(b" \t")
        interpreter = os.fsdecode(words[0]) if words else ""
        if line.endswith(b"\r"):
            interpreter = os.fsdecode(line.split(b" ", 1)[0])
        if not os.path.exists(os.path.join(plan.directory, interpreter)):  # noqa: PTH110, PTH118 - the same
            why = f"its interpreter {interpreter!r}, in the first line of {file!r}, is not there"
            raise start_error(
                ProgramNotFoundError, why, plan, path=interpreter, number=errno.ENOENT
            )
    elif not first or b"\0" not in first:
        why = f"{file!r} is a text without a #! line, or empty{_by_path(plan)}"
        raise start_error(NotExecutableError, why, plan, path=file, number=errno.ENOEXEC)


def _check_log(plan: Plan) -> None:
    if plan.config.log.file is None:
        return
    file = os.path.join(plan.base, plan.config.log.file)  # noqa: PTH118 - the same
    folder = os.path.dirname(file)  # noqa: PTH120 - the same
    why = ""
    if not os.path.isdir(folder):  # noqa: PTH112 - the same
        why = f"the log's directory {folder!r} is not there{hint_of(plan.config.log.file)}"
    elif os.path.lexists(file) and not stat.S_ISREG(os.lstat(file).st_mode):
        why = f"the log {file!r} is no regular file"
    elif not os.access(file if os.path.lexists(file) else folder, os.W_OK):
        why = f"the log {file!r} may not be written"
    if why:
        raise start_error(StartError, why, plan, path=file, step="log")


def _check_user(plan: Plan) -> None:
    user = plan.config.user
    if user is None:
        return
    import pwd  # noqa: PLC0415 - for the few that name a user

    try:
        pwd.getpwnam(user) if isinstance(user, str) else pwd.getpwuid(user)
    except KeyError as e:
        if isinstance(user, str):
            why = f"there is no user {user!r} here"
            raise start_error(StartError, why, plan, step="user") from e


def _check_processors(plan: Plan) -> None:
    """Raise unless it can have each processor that it asks for: the kernel drops the rest."""
    wanted = plan.config.limits.cpu_affinity
    if wanted is None:
        return
    asked = f"cpu_affinity={shortened(wanted)}"
    if not hasattr(os, "sched_setaffinity"):
        why = f"limits: {asked} cannot be had: this system binds no program to a processor"
        raise start_error(StartError, why, plan, step="limits")
    there = processors_for(wanted)
    if there is not None and not there.issuperset(wanted):
        absent, able = sorted({*wanted} - there), shortened(sorted(there))
        why = f"limits: of {asked} the processors {shortened(absent)} cannot be had here; "
        why += f"those that can are {able}"
        raise start_error(StartError, why, plan, step="limits", number=errno.EINVAL)
