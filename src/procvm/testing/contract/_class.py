"""The checks as methods of one test class."""

from __future__ import annotations

import unittest
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from ...backends import Backend
from . import _callers, _ends, _parts, _starts, _words
from ._bench import PATIENCE, Check, command_of, examine

__all__ = ["CHECKS", "BackendContract"]

CHECKS: tuple[Check, ...] = (
    *_parts.CHECKS, *_starts.CHECKS, *_ends.CHECKS, *_words.CHECKS, *_callers.CHECKS,
)  # fmt: skip


class BackendContract:
    """Derive a test class from it, and let ``make_backend`` return a fresh backend.

    Each check is one test: those of the parts that every engine needs, then those of a manager
    that runs the programs of PROGRAMS. ``command`` says how they are called where they run.

    Attributes:
        patience: How many seconds the backend may take to tell what it must.
        does_not_apply: Names of checks that cannot apply, each with the reason; these are skipped.
    """

    patience: ClassVar[float] = PATIENCE
    does_not_apply: ClassVar[Mapping[str, str]] = {}

    def make_backend(self) -> Backend:
        """Return a fresh backend; a fake one with the scripts of PROGRAMS."""
        raise NotImplementedError("return a fresh backend")

    def command(self, name: str) -> Sequence[str]:
        """Return the command of the program called ``name``; see PROGRAMS."""
        return command_of(name)


def _test(check: Check) -> Callable[[BackendContract], None]:
    name = getattr(check, "__name__", "")

    def test(self: BackendContract) -> None:
        if name in self.does_not_apply:
            raise unittest.SkipTest(self.does_not_apply[name])
        examine(check, self.make_backend, command=self.command, patience=self.patience)

    test.__name__ = test.__qualname__ = f"test_{name}"
    test.__doc__ = check.__doc__
    return test


def _attach(target: Any) -> None:
    for check in CHECKS:
        test = _test(check)
        setattr(target, test.__name__, test)


_attach(BackendContract)
