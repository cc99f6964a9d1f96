"""Real processes on this machine: spawned, drained, watched and taken away.

Everything happens in one reader thread; what holds the trees is behind one small interface.
"""

from __future__ import annotations

from ._backend import SubprocessBackend

__all__ = ["SubprocessBackend"]
