"""Policy: what a request may do; what it does not name is denied."""

# ruff: noqa: PTH100, PTH110, PTH112, PTH113, PTH117, PTH118, PTH119, PTH120
# pathlib normalises what must be compared as it was written

from __future__ import annotations

import fnmatch
import logging
import math
import os
import shutil
import stat
from collections.abc import Iterable
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs

from .. import probes
from ..config import Limits, LogPolicy, RestartPolicy, VMConfig
from ..errors import ConfigError, PolicyError
from ._codec import METHODS

__all__ = ["Policy", "look_at"]

_log = logging.getLogger("procvm")
_LARGEST = 2**17
_LONGEST_PATH = 4096
_MOST_CODES = 256
_MOST_PROBES = 16
_MOST_KEPT = 16 * 2**20
_LONGEST_GRACE = 60.0
_MOST_RESTARTS = 100
_LEAST_INTERVAL = 0.1
_LONGEST_PROBE = 300.0
_LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})


def _texts(given: Iterable[str]) -> tuple[str, ...]:
    value: Any = given
    is_one = isinstance(value, str) or not isinstance(value, Iterable)
    return value if is_one else tuple(value)  # refused below


def _several(_: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, tuple):
        raise ConfigError(attribute.name, value, "must be several texts, in a list say")
    if not all(isinstance(text, str) and text for text in value):
        raise ConfigError(attribute.name, value, "must hold text alone, none of it empty")


def _methods(_: Any, attribute: Any, value: tuple[str, ...]) -> None:
    for method in value:
        if method not in METHODS:
            raise ConfigError(attribute.name, method, f"must be of {', '.join(METHODS)}")


def _count(_: Any, attribute: Any, value: Any) -> None:
    if type(value) is not int or value < 0:
        raise ConfigError(attribute.name, value, "must be a whole number, at least 0")


def _seconds(_: Any, attribute: Any, value: Any) -> None:
    if type(value) not in (int, float) or not math.isfinite(value) or value <= 0:
        raise ConfigError(attribute.name, value, "must be a finite number of seconds above 0")


def _sight(_: Any, attribute: Any, value: Any) -> None:
    if value not in ("all", "own"):
        raise ConfigError(attribute.name, value, "must be all or own")


@attrs.frozen(kw_only=True)
class Policy:
    """What requests may do; what is not named is denied.

    Of the rest of a configuration (extended dialect) a request may set ``inherit_env`` and
    ``success_codes``; probes of the loopback, of files in the roots and of allowed programs, every
    0.1 s at most and for 300 s; a ``log.file`` in the roots whose name ends in ``.log``, rotated
    as by default; ``log.keep`` up to 16 MiB, a ``stop.grace`` up to 60 s; and restarts of which
    each waits 0.1 s, or of which there are at most 100 a minute. It may set no ``user`` and no
    ``limits``.

    What is allowed is pinned: the file that runs is the one named here and the directory the one
    that was checked, so that a link swapped afterwards, before a reset say, leads nowhere else.

    Attributes:
        methods: Methods that may be used.
        programs: Programs that may run: absolute paths, or names found on the host's PATH. The
            file that will run decides, also when ``path`` names it, and argv[0] must bear its
            name. What the program does with its arguments is not looked at.
        roots: Directories in which ``path`` must lie, links resolved; none: the host's own. Who
            may rename directories inside of them can move where a program runs, and its log.
        env: Names that a request may set; ``*`` as in file names. PATH and LD_* by their full
            names alone.
        max_vms: How many VMs there may be through this Dispatcher.
        max_age: Seconds that a timestamp may be away from the host's clock.
        replay_window: Seconds for which a request that changes something is remembered and
            refused if it comes again; None: as long as its timestamp can be valid.
        sees: What get_vms and get_health tell of: ``'all'`` VMs of the manager, with their
            command lines, or its ``'own'``: those that were allocated through this Dispatcher.
        vms: Names of VMs, ``*`` as in file names, that are as one's own though the host or
            another Dispatcher allocated them: remove_vm and reset_vm reach them.
    """

    methods: tuple[str, ...] = attrs.field(
        default=(), converter=_texts, validator=[_several, _methods]
    )
    programs: tuple[str, ...] = attrs.field(default=(), converter=_texts, validator=_several)
    roots: tuple[str, ...] = attrs.field(default=(), converter=_texts, validator=_several)
    env: tuple[str, ...] = attrs.field(default=(), converter=_texts, validator=_several)
    max_vms: int = attrs.field(default=16, validator=_count)
    max_age: float = attrs.field(default=60.0, validator=_seconds)
    replay_window: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(_seconds)
    )
    sees: Literal["all", "own"] = attrs.field(default="all", validator=_sight)
    vms: tuple[str, ...] = attrs.field(default=(), converter=_texts, validator=_several)

    def __attrs_post_init__(self) -> None:
        """Refuse what can never work, and a window through which a replay would pass."""
        for program in self.programs:
            if os.sep in program and not os.path.isabs(program):
                why = "must be an absolute path, or a name to be found on the host's PATH"
                raise ConfigError("programs", program, why)
            if not os.path.exists(_found(program, os.environ.get("PATH", os.defpath)) or ""):
                _log.warning("Policy: programs=%.200r: is not to be found, so far", program)
        for root in self.roots:
            if not os.path.isdir(root):
                _log.warning("Policy: roots=%.200r: is no directory, so far", root)
        if "allocate_vm" in self.methods and not self.programs:
            _log.warning("Policy: methods has allocate_vm and there are no programs to allow")
        others = {"remove_vm", "reset_vm"}.intersection(self.methods)
        if others and "allocate_vm" not in self.methods and not self.vms:
            way = "it reaches what allocate_vm made, or what vms names"
            _log.warning("Policy: methods=%.200r: can reach nothing: %s", min(others), way)
        if self.replay_window is not None and self.replay_window < 2 * self.max_age:
            raise ConfigError(
                "replay_window", self.replay_window, "must be at least twice max_age"
            )

    def check_config(self, config: VMConfig) -> VMConfig:
        """Return a configuration as it may be started, links resolved; PolicyError if it may not.

        What it names is looked up here and nowhere else: the program is then the policy's own
        file, and a path the directory that was checked.
        """
        self._env(config)
        _within_bounds(config)
        is_program = os.path.isfile(config.path)  # asked once: what it names may change meanwhile
        real = self._inside("args.config.path", config.path, config.path)
        file = os.path.abspath(config.path) if is_program else None
        program = self._program("args.config.command", config, config.command[0], file)
        if config.user is not None:
            raise PolicyError("args.config.user", "may not be chosen by a request")
        if config.limits != Limits():
            raise PolicyError("args.config.limits", "may not be set by a request")
        if is_program and self._may_run_here():
            pinned: dict[str, Any] = {"path": program}
        elif is_program:  # where the program itself is: the host's own directory is no root
            pinned = {"path": os.path.join(os.path.dirname(real), "")}
            pinned["command"] = (program, *config.command[1:])
        else:  # the slash: should a file stand there later, it is no program to run
            pinned = {"path": os.path.join(real, ""), "command": (program, *config.command[1:])}
        if config.log.file is not None:
            pinned["log"] = attrs.evolve(config.log, file=self._log(config.log))
        directory = "." if pinned["path"] == program else pinned["path"]
        for field, probe in (("ready", config.ready), ("alive", config.alive)):
            if probe is not None:
                pinned[field] = self._probe(f"args.config.{field}", config, probe, directory)
        return attrs.evolve(config, **pinned)

    def reaches(self, name: str) -> bool:
        """Tell whether a VM that was allocated elsewhere is as one's own."""
        return any(fnmatch.fnmatchcase(name, one) for one in self.vms)

    def _env(self, config: VMConfig) -> None:
        for name in config.env:
            guarded = name == "PATH" or name.startswith("LD_")
            if name in self.env or (
                not guarded and any(fnmatch.fnmatchcase(name, one) for one in self.env)
            ):
                continue
            raise PolicyError("args.config.env", f"{name[:80]!r} may not be set by a request")

    def _inside(self, field: str, path: str, given: str) -> str:
        """Return a path of the roots with its links resolved; ``given``: as the request has it."""
        if len(path) > _LONGEST_PATH:
            raise PolicyError(field, f"must be at most {_LONGEST_PATH} characters")
        real = os.path.realpath(path)
        for root in self.roots or (".",):
            top = os.path.realpath(root)
            if real == top or real.startswith(top.rstrip(os.sep) + os.sep):
                return real
        why = "lies outside the directories that requests may use (a relative one is the host's)"
        raise PolicyError(field, f"{given[:80]!r} {why}")

    def _may_run_here(self) -> bool:
        try:
            self._inside("args.config.path", ".", ".")
        except PolicyError:
            return False
        return True

    def _log(self, log: LogPolicy) -> str:
        """Return where a log may be written: to no file that could be a program, or a part of one.

        What is under another name there could be run: a program that the policy allows, a module
        that it imports, a profile that it reads.
        """
        field = "args.config.log.file"
        real = self._inside(field, log.file or "", log.file or "")
        if not real.endswith(".log"):
            raise PolicyError(field, "must end in .log: no request may write another file")
        for name in (real, *(f"{real}.{n}" for n in range(1, LogPolicy().backups + 1))):
            try:
                mode = os.lstat(name).st_mode
            except FileNotFoundError:
                continue
            except OSError as e:
                raise PolicyError(field, f"cannot be looked at: {e.strerror}") from e
            if not stat.S_ISREG(mode) or mode & 0o111:
                raise PolicyError(field, f"{os.path.basename(name)} is there, and is no log")
        if log.rotate != LogPolicy().rotate or log.backups > LogPolicy().backups:
            raise PolicyError("args.config.log", "may be rotated as by default alone")
        return real

    def _program(self, field: str, config: VMConfig, word: str, file: str | None) -> str:
        """Return the policy's own file that a request means, whatever links led it there."""
        found = file
        if found is None:
            found = _found(word, os.environ.get("PATH", os.defpath))
            if found != _found(word, _path_of(config)):
                raise PolicyError(
                    field, "is another program on the PATH that env and inherit_env make"
                )
        if found is not None:
            place, real = _place(found), os.path.realpath(found)
            for program in self.programs:
                allowed = _found(program, os.environ.get("PATH", os.defpath))
                if allowed is None or _place(allowed) not in (place, real):
                    continue
                if os.path.basename(word) in (os.path.basename(found), os.path.basename(allowed)):
                    return allowed
        given = word if file is None else config.path
        raise PolicyError(field, f"{given[:80]!r} is no program that requests may run")

    def _probe(
        self, field: str, config: VMConfig, probe: probes.Probe, directory: str
    ) -> probes.Probe:
        if probe.interval < _LEAST_INTERVAL:
            raise PolicyError(f"{field}.interval", f"must be at least {_LEAST_INTERVAL} s")
        if probe.timeout is not None and probe.timeout > _LONGEST_PROBE:
            raise PolicyError(f"{field}.timeout", f"must be at most {_LONGEST_PROBE:g} s")
        if isinstance(probe, (probes.AllOf, probes.AnyOf)):
            inner = tuple(self._probe(field, config, one, directory) for one in probe.probes)
            return attrs.evolve(probe, probes=inner)
        if isinstance(probe, probes.Command):
            program = self._program(field, config, probe.argv[0], None)
            return attrs.evolve(probe, argv=(program, *probe.argv[1:]))
        if isinstance(probe, (probes.Tcp, probes.Http)):
            host = probe.host if isinstance(probe, probes.Tcp) else _host(probe.url)
            if host not in _LOCAL:
                raise PolicyError(field, "may reach the loopback alone")
            return probe
        if isinstance(probe, (probes.File, probes.Unix)):
            path = os.path.join(directory, probe.path)  # as it is looked for
            return attrs.evolve(probe, path=self._inside(field, path, probe.path))
        if not isinstance(probe, probes.Notify):
            raise PolicyError(field, f"a {probe.kind} probe may not be set by a request")
        return probe


def look_at(args: Any) -> None:
    """Refuse probes that a request may not set, or too many, before anything is made of them.

    To make a pattern of a text alone may take minutes, and words of long ones seconds.
    """
    config = args.get("config") if type(args) is dict else None
    for field in ("ready", "alive"):
        waiting = [config.get(field)] if type(config) is dict else []
        number = 0
        while waiting:
            probe = waiting.pop()
            if type(probe) is not dict:
                continue
            number += 1
            if number > _MOST_PROBES:
                raise PolicyError(f"args.config.{field}", f"has more than {_MOST_PROBES} parts")
            if probe.get("kind") == "log":
                raise PolicyError(
                    f"args.config.{field}", "a log probe may not be set by a request"
                )
            argv = probe.get("argv")
            if type(argv) is str and len(argv) > _LONGEST_PATH:
                why = f"a command of more than {_LONGEST_PATH} characters must be a list of words"
                raise PolicyError(f"args.config.{field}", why)
            inner = probe.get("probes")
            waiting += inner if type(inner) is list else []


def _within_bounds(config: VMConfig) -> None:
    """Refuse what could cost the host its memory, its time at the end, or its processors."""
    names = config.inherit_env if isinstance(config.inherit_env, tuple) else ()
    texts = (config.name, config.path, *config.command, *names)
    size = sum(map(len, texts)) + sum(len(k) + len(v) for k, v in config.env.items())
    if size + 64 * len(texts) > _LARGEST or len(config.success_codes) > _MOST_CODES:
        raise PolicyError("args.config", f"must be at most {_LARGEST} characters in all")
    if len(config.path) > _LONGEST_PATH:
        raise PolicyError("args.config.path", f"must be at most {_LONGEST_PATH} characters")
    if config.log.keep > _MOST_KEPT:
        raise PolicyError("args.config.log.keep", f"must be at most {_MOST_KEPT} bytes")
    if config.stop.grace > _LONGEST_GRACE:
        raise PolicyError("args.config.stop.grace", f"must be at most {_LONGEST_GRACE:g} s")
    restart, usual = config.restart, RestartPolicy()
    is_bounded = restart.limit is not None and restart.limit <= _MOST_RESTARTS
    least, usual_least = (one.initial * (1 - one.jitter) for one in (restart, usual))
    is_calm = least >= usual_least or (is_bounded and restart.within >= usual.within)
    if restart.when != "never" and not is_calm:
        raise PolicyError("args.config.restart", "must wait at least 0.1 s, or have a limit")


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _path_of(config: VMConfig) -> str:
    inherits = config.inherit_env is True or (
        config.inherit_env is not False and "PATH" in config.inherit_env
    )
    inherited = os.environ.get("PATH", os.defpath) if inherits else os.defpath
    return config.env.get("PATH", inherited)


def _found(word: str, path: str) -> str | None:
    """Find a program; what depends on the directory it is run from is not found."""
    found = word if os.path.isabs(word) else None
    if os.sep not in word:
        found = shutil.which(word, path=path)
    return found if found is not None and os.path.isabs(found) else None


def _place(file: str) -> str:
    """Return where a file stands, its directory's links resolved but not its own."""
    return os.path.join(os.path.realpath(os.path.dirname(file)), os.path.basename(file))
