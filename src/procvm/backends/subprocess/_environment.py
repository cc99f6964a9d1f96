"""The environment that a program starts with."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ...config import VMConfig

__all__ = ["environment_of", "search_path_of"]

_NEVER = ("NOTIFY_SOCKET",)
_NEVER_PREFIXES = ("LISTEN_", "WATCHDOG_")


def environment_of(config: VMConfig, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what is inherited of the host's, the config's and ``more`` laid over it."""
    if config.inherit_env is True:
        base = dict(os.environ)
    elif config.inherit_env is False:
        base = {}
    else:
        base = {name: os.environ[name] for name in config.inherit_env if name in os.environ}
    for name in list(base):  # what systemd said to the host is not for its programs
        if name in _NEVER or name.startswith(_NEVER_PREFIXES):
            del base[name]
    return {**base, **config.env, **(more or {})}


def search_path_of(config: VMConfig) -> str | None:
    """Return the PATH of that environment, without making all of it."""
    if "PATH" in config.env:
        return config.env["PATH"]
    inherits = config.inherit_env
    is_inherited = inherits if isinstance(inherits, bool) else "PATH" in inherits
    return os.environ.get("PATH") if is_inherited else None
