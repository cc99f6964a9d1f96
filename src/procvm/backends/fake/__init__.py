"""A fake in memory: scripted programs, virtual time, no process and no thread.

It obeys the same rules as the real backend, so that an hour of crashes takes milliseconds.
"""

from __future__ import annotations

from ._backend import FakeBackend
from ._program import FakeProgram

__all__ = ["FakeBackend", "FakeProgram"]
