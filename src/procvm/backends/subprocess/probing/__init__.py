"""Probes asked for real: over the network, of files, of output, by commands and functions."""

from __future__ import annotations

from ._commands import Commands
from ._notify import NotifySocket
from ._strangers import Strangers
from ._tries import try_once
from ._watcher import Watcher, leaves_of

__all__ = ["Commands", "NotifySocket", "Strangers", "Watcher", "leaves_of", "try_once"]
