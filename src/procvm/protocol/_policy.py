"""Policy: what a request may do; what it does not name is denied."""

# ruff: noqa: PTH100, PTH113, PTH117, PTH118, PTH119, PTH120
# pathlib normalises what must be compared as it was written

from __future__ import annotations

import fnmatch
import hashlib
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import attrs

from .. import probes
from ..config import Limits, VMConfig
from ..errors import ConfigError, PolicyError
from ._codec import METHODS, encode_request
from ._messages import AllocateVM, GetHealth, GetVMs, Request

__all__ = ["Guard", "Policy"]

_MOST_REMEMBERED = 100_000
_LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ConfigError("policy", value, "must be several texts, in a list say")
    texts = tuple(value)
    if not all(isinstance(text, str) and text for text in texts):
        raise ConfigError("policy", value, "must hold text alone, none of it empty")
    return texts


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


@attrs.frozen(kw_only=True)
class Policy:
    """What requests may do; what is not named is denied.

    Attributes:
        methods: Methods that may be used.
        programs: Programs that may run: absolute paths, or names found on the host's PATH. The
            file that will run decides, also when ``path`` names it, and argv[0] must bear its
            name. What the program does with its arguments is not looked at.
        roots: Directories in which ``path`` must lie, links resolved; none: the host's own.
        env: Names that a request may set; ``*`` as in file names. PATH and LD_* by their full
            names alone.
        max_vms: How many VMs there may be through this Dispatcher.
        max_age: Seconds that a timestamp may be away from the host's clock.
        replay_window: Seconds for which a request that changes something is remembered and
            refused if it comes again; None: as long as its timestamp can be valid.
    """

    methods: tuple[str, ...] = attrs.field(default=(), converter=_texts, validator=_methods)
    programs: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    roots: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    env: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    max_vms: int = attrs.field(default=16, validator=_count)
    max_age: float = attrs.field(default=60.0, validator=_seconds)
    replay_window: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(_seconds)
    )

    def __attrs_post_init__(self) -> None:
        """Refuse a window through which a replay would pass."""
        if self.replay_window is not None and self.replay_window < 2 * self.max_age:
            raise ConfigError(
                "replay_window", self.replay_window, "must be at least twice max_age"
            )

    def check_config(self, config: VMConfig) -> None:
        """Raise PolicyError when this program may not be started so."""
        self._env(config)
        self._inside("args.config.path", config.path)
        self._program("args.config.command", config, config.command[0], config.path)
        if config.user is not None:
            raise PolicyError("args.config.user", "may not be chosen by a request")
        if config.limits != Limits():
            raise PolicyError("args.config.limits", "may not be set by a request")
        if config.log.file is not None:
            self._inside("args.config.log.file", config.log.file)
        for field, probe in (("ready", config.ready), ("alive", config.alive)):
            if probe is not None:
                self._probe(f"args.config.{field}", config, probe)

    def _env(self, config: VMConfig) -> None:
        for name in config.env:
            guarded = name == "PATH" or name.startswith("LD_")
            if name in self.env or (
                not guarded and any(fnmatch.fnmatchcase(name, one) for one in self.env)
            ):
                continue
            raise PolicyError("args.config.env", f"{name[:80]!r} may not be set by a request")

    def _inside(self, field: str, path: str) -> None:
        real = os.path.realpath(path)
        for root in self.roots or (".",):
            top = os.path.realpath(root)
            if real == top or real.startswith(top.rstrip(os.sep) + os.sep):
                return
        raise PolicyError(field, "lies outside the directories that requests may use")

    def _program(self, field: str, config: VMConfig, word: str, path: str) -> None:
        if os.path.isfile(path):
            found: str | None = os.path.abspath(path)
        else:
            found = _found(word, os.environ.get("PATH", os.defpath))
            if found != _found(word, _path_of(config)):
                raise PolicyError(field, "is another program on the PATH that env sets")
        if found is not None:
            place, real = _place(found), os.path.realpath(found)
            for program in self.programs:
                allowed = _found(program, os.environ.get("PATH", os.defpath))
                if allowed is None or _place(allowed) not in (place, real):
                    continue
                if os.path.basename(word) in (os.path.basename(found), os.path.basename(allowed)):
                    return
        raise PolicyError(field, "is no program that requests may run")

    def _probe(self, field: str, config: VMConfig, probe: probes.Probe) -> None:
        if isinstance(probe, (probes.AllOf, probes.AnyOf)):
            for one in probe.probes:
                self._probe(field, config, one)
        elif isinstance(probe, probes.Command):
            self._program(field, config, probe.argv[0], ".")
        elif isinstance(probe, (probes.Tcp, probes.Http)):
            host = probe.host if isinstance(probe, probes.Tcp) else _host(probe.url)
            if host not in _LOCAL:
                raise PolicyError(field, "may reach the loopback alone")
        elif isinstance(probe, (probes.File, probes.Unix)):
            self._inside(field, probe.path)
        elif not isinstance(probe, probes.Notify):
            raise PolicyError(field, f"a {probe.kind} probe may not be set by a request")


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


class Guard:
    """A policy at work: what it remembers of requests and whose VMs are whose."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._lock = threading.Lock()  # held for these few fields alone, never during a verb
        self._names: dict[str, str] = {}
        self._reserved = 0
        self._seen: dict[bytes, float] = {}

    def check(self, message: Request) -> None:
        """Raise PolicyError when a message may not be carried out."""
        policy = self._policy
        if message.method not in policy.methods:
            raise PolicyError("method", f"{message.method} may not be used")
        if abs(time.time() - message.timestamp) > policy.max_age:
            raise PolicyError("timestamp", f"is more than {policy.max_age:g} s away")
        if isinstance(message, (GetHealth, GetVMs)):
            return
        if isinstance(message, AllocateVM):
            policy.check_config(message.config)
        self._remember(message)

    def _remember(self, message: Request) -> None:
        """Refuse what came before; what is remembered is what will be done, stray keys aside."""
        window = self._policy.replay_window or 2 * self._policy.max_age
        data = encode_request(message, dialect="extended")
        data["timestamp"] = float(data["timestamp"])
        digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).digest()
        now = time.monotonic()
        with self._lock:
            while self._seen:  # in order of age
                oldest = next(iter(self._seen))
                if self._seen[oldest] > now:
                    break
                del self._seen[oldest]
            if digest in self._seen:
                raise PolicyError("timestamp", "this very request came before")
            if len(self._seen) >= _MOST_REMEMBERED:
                raise PolicyError("timestamp", "too many requests are remembered; come later")
            self._seen[digest] = now + window + 1.0

    def reserve(self, listed: Callable[[], set[str]]) -> None:
        """Reserve a place for one VM before it is started."""
        with self._lock:
            full = len(self._names) + self._reserved >= self._policy.max_vms
            known = set(self._names)
        alive = listed() if full else known  # a host may have removed some on its own
        with self._lock:
            for vm_id in known - alive:
                self._names.pop(vm_id, None)
            if len(self._names) + self._reserved >= self._policy.max_vms:
                raise PolicyError("args.config", f"there are {self._policy.max_vms} VMs already")
            self._reserved += 1

    def allocated(self, vm_id: str | None, name: str) -> None:
        """Turn a reservation into a VM of ours, or give it back."""
        with self._lock:
            self._reserved -= 1
            if vm_id is not None:
                self._names[vm_id] = name

    def own(self, vm: str) -> str:
        """Return the vm_id of a VM that this Dispatcher allocated, by vm_id or name."""
        with self._lock:
            if vm in self._names:
                return vm
            for vm_id, name in reversed(self._names.items()):
                if name == vm:
                    return vm_id
        raise PolicyError("args.vm_id", "is no VM that was allocated through here")

    def removed(self, vm_id: str) -> None:
        """Forget a VM."""
        with self._lock:
            self._names.pop(vm_id, None)
