"""The environment that a program starts with."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ...config import VMConfig

__all__ = ["environment_of", "search_path_of"]

_NEVER = ("NOTIFY_SOCKET",)
_NEVER_PREFIXES = ("LISTEN_", "WATCHDOG_")
_last: tuple[dict[bytes, bytes], dict[str, str]] = ({}, {})


def environment_of(config: VMConfig, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what is inherited of the host's, the config's and ``more`` laid over it."""
    wanted = config.inherit_env
    base: Mapping[str, str] = {} if wanted is False else _inherited()
    if not isinstance(wanted, bool):
        base = {name: base[name] for name in wanted if name in base}
    return {**base, **config.env, **(more or {})}


def _inherited() -> Mapping[str, str]:
    """Return all of the host's that is for its programs; made anew when it has changed.

    ``os.environ`` decodes each name and value at each look, which is half the price of a start's
    preparation; its own dict of bytes tells at once whether it is the same.
    """
    global _last  # noqa: PLW0603 - it is the process's, as the environment is
    raw: dict[bytes, bytes] | None = getattr(os.environ, "_data", None)
    if raw is None:
        return _filtered(dict(os.environ))
    then, made = _last
    if raw != then:
        then = raw.copy()
        made = _filtered({os.fsdecode(name): os.fsdecode(then[name]) for name in then})
        _last = then, made
    return made


def _filtered(base: dict[str, str]) -> dict[str, str]:
    for name in list(base):  # what systemd said to the host is not for its programs
        is_odd = not name or "=" in name  # which execve passes on, and posix_spawn refuses
        if is_odd or name in _NEVER or name.startswith(_NEVER_PREFIXES):
            del base[name]
    return base


def search_path_of(config: VMConfig) -> str | None:
    """Return the PATH of that environment, without making all of it."""
    if "PATH" in config.env:
        return config.env["PATH"]
    inherits = config.inherit_env
    is_inherited = inherits if isinstance(inherits, bool) else "PATH" in inherits
    return os.environ.get("PATH") if is_inherited else None
