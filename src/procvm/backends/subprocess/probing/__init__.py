"""Probes asked for real: over the network, of files, of output, by commands and functions."""

from __future__ import annotations

from ._watcher import Watcher

__all__ = ["Watcher"]
