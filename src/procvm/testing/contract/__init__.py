"""The contract of a backend as checks that anybody can run over a backend of their own.

A test class derives from ``BackendContract`` and makes its backend; or a test is parametrised
with ``CHECKS`` and calls ``examine``. The project's own backends are held to the same checks.
"""

from __future__ import annotations

from ._bench import Bench, Check, examine
from ._class import CHECKS, BackendContract
from ._programs import PROGRAMS, Program

__all__ = ["CHECKS", "PROGRAMS", "BackendContract", "Bench", "Check", "Program", "examine"]
