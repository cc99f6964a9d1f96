"""What a caller waits with."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from ..backends import Backend
from ..errors import ProcVMError
from ..values import VM

__all__ = ["Ticket"]


class Ticket:
    """One verb in progress: settled once by the loop, waited for by one caller."""

    def __init__(self, backend: Backend, verb: str) -> None:
        self.verb = verb
        self.vm_id = ""
        self.is_settled = False
        self.is_taken_back = False  # its caller has gone, which the loop is yet to hear
        self.wants: Callable[[VM], bool] | None = None
        self.waiter = backend.waiter()
        self._value: Any = None
        self._wake: Callable[[], None] | None = None
        self._error: BaseException | None = None

    def settle(self, value: Any = None) -> None:
        """Answer; what comes after the first answer is dropped."""
        if not self.is_settled:
            self._value = value
            self._answered()

    def fail(self, error: BaseException) -> None:
        """Answer with an error of the caller's own."""
        if not self.is_settled:
            self._error = copy.copy(error) if isinstance(error, ProcVMError) else error
            self._error.__cause__ = error.__cause__
            self._answered()

    def _answered(self) -> None:
        self.is_settled = True
        self.waiter.set()
        if self._wake is not None:
            self._wake()

    def on_settled(self, wake: Callable[[], None]) -> None:
        """Call ``wake``, from any thread, when it is settled; perhaps twice."""
        self._wake = wake
        if self.is_settled:
            wake()

    @property
    def has_succeeded(self) -> bool:
        """Whether it was answered, and not with an error."""
        return self.is_settled and self._error is None

    @property
    def is_answered(self) -> bool:
        """Whether it was settled with anything, and not taken back before."""
        return self._value is not None or self._error is not None

    @property
    def error(self) -> BaseException | None:
        """What it was answered with, if that was an error."""
        return self._error

    def result(self) -> Any:
        """Return the answer, or raise it."""
        __tracebackhide__ = True  # IPython and pytest show the verb, and not how it waits
        if self._error is not None:
            raise self._error
        return self._value
