"""The checks as methods of one test class."""

from __future__ import annotations

import unittest
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from ...backends import Backend
from ...errors import ConfigError
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
        does_not_apply: Names of checks that cannot apply, with or without ``test_``, each with the
            reason; these are skipped. A name that no check has is an error of the class.
    """

    patience: ClassVar[float] = PATIENCE
    does_not_apply: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **more: Any) -> None:
        """Refuse reasons for what is no check."""
        super().__init_subclass__(**more)
        names = {getattr(check, "__name__", "") for check in CHECKS}
        reasons: Any = cls.does_not_apply
        if not isinstance(reasons, Mapping):
            why = "must be a mapping from the names of checks to the reasons"
            raise ConfigError("does_not_apply", reasons, why)
        for name in reasons:
            if str(name).removeprefix("test_") not in names:
                why = f"is no check; those there are: {', '.join(sorted(names))}"
                raise ConfigError("does_not_apply", name, why)

    def make_backend(self) -> Backend:
        """Return a fresh backend; a fake one with the scripts of PROGRAMS."""
        raise NotImplementedError("return a fresh backend")

    def _made(self) -> Backend:
        made: Any = self.make_backend()
        if not isinstance(made, Backend):
            raise ConfigError("make_backend", made, "must return a backend, a fresh one each time")
        return made

    def command(self, name: str) -> Sequence[str]:
        """Return the command of the program called ``name``; see PROGRAMS."""
        return command_of(name)


def _test(check: Check) -> Callable[[BackendContract], None]:
    name = getattr(check, "__name__", "")

    def test(self: BackendContract) -> None:
        reasons = {str(k).removeprefix("test_"): why for k, why in self.does_not_apply.items()}
        if name in reasons:
            raise unittest.SkipTest(reasons[name])
        examine(check, self._made, command=self.command, patience=self.patience)

    test.__name__ = test.__qualname__ = f"test_{name}"
    test.__doc__ = check.__doc__
    return test


def _attach(target: Any) -> None:
    for check in CHECKS:
        test = _test(check)
        setattr(target, test.__name__, test)


_attach(BackendContract)
