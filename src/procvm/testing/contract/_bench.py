"""Where one check meets one backend."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from ...backends import Backend, Sink, Waiter
from ...config import VMConfig
from ...errors import UnreachableStateError
from ...manager import VMManager
from ._programs import LONG, PROGRAMS
from ._sink import WatchedSink

__all__ = ["Bench", "Check", "examine"]

PATIENCE = 30.0
Command = Callable[[str], Sequence[str]]


def command_of(name: str) -> Sequence[str]:
    """Return the command of a program of the checks, as a POSIX system has it."""
    return PROGRAMS.get(name, LONG).command


class Bench:
    """A fresh backend, a manager over it, and a sink between them that watches.

    Nothing waits for ever on it: what a backend should have told, and did not within
    ``patience`` seconds, is an AssertionError.

    Attributes:
        backend: The backend.
        manager: The manager over it.
        patience: Seconds.
        is_virtual: Whether time moves only when somebody waits.
    """

    def __init__(
        self, make: Callable[[], Backend], command: Command = command_of,
        patience: float = PATIENCE,
    ) -> None:  # fmt: skip
        self.make = make
        self.patience = patience
        self._command = command
        self.backend = cast("Any", make())  # its methods are replaced just below
        self.is_virtual = self.backend.capabilities.containment == "virtual"
        self._open, self._block = self.backend.open, self.backend.block
        self.backend.open, self.backend.block = self._opened, self._blocked
        self.sink: WatchedSink | None = None
        self.manager = VMManager(self.backend)

    def _opened(self, sink: Sink) -> None:
        watched = WatchedSink(sink, is_virtual=self.is_virtual)
        self._open(watched)  # a second engine is refused here
        self.sink = watched
        if not self.is_virtual:
            watched.learn_loop(self.backend.post)

    def _blocked(self, waiter: Waiter, timeout: float | None) -> bool:
        if timeout is not None or self.is_virtual:
            return bool(self._block(waiter, timeout))
        if not self._block(waiter, self.patience):
            raise AssertionError(f"for {self.patience:g} s nothing came that ends the waiting")
        return True

    def twin(self) -> Bench:
        """Return another one, over a backend of its own."""
        return Bench(self.make, self._command, self.patience)

    def config(self, name: str, **options: Any) -> VMConfig:
        """Return the config of a VM whose name says what it does; see PROGRAMS."""
        return VMConfig(name, self._command(name), **options)

    def first_line(self, name: str) -> str:
        """Return what a VM writes first; see PROGRAMS."""
        line = next(self.manager.follow(name), None)
        if line is None:
            raise AssertionError(f"no line of {name!r} came: see PROGRAMS for what it writes")
        return line.text

    def loop(self, call: Callable[[], Any]) -> Any:
        """Run ``call`` in the loop and return what it returned."""
        answer: list[Any] = []
        waiter = self.backend.waiter()

        def run() -> None:
            try:
                answer.append(call())
            finally:
                waiter.set()

        self.backend.post(run)
        self.backend.block(waiter, None)
        if not answer:
            raise AssertionError("a posted call raised, or was not run")
        return answer[0]

    def let_pass(self, seconds: float) -> None:
        """Return when so much of the backend's time has passed."""
        waiter = self.backend.waiter()
        self.loop(lambda: self.backend.call_later(seconds, waiter.set))
        self.backend.block(waiter, None)

    def until(self, holds: Callable[[], bool], words: str) -> None:
        """Look again and again until ``holds``, for what comes without an event."""
        end = time.monotonic() + self.patience
        while not holds():
            if time.monotonic() > end:
                raise AssertionError(f"after {self.patience:g} s still not so: {words}")
            time.sleep(0.001)

    def close(self) -> None:
        """Close the manager; AssertionError when the sink was told what it must not be."""
        try:
            self.manager.close(grace=1.0)
        except (AssertionError, RuntimeError):  # the latter where no event is left
            self.manager.core.abandon()
            raise
        violations = [] if self.sink is None else self.sink.violations
        if violations:
            raise AssertionError("the backend told what it must not: " + "; ".join(violations))


Check = Callable[[Bench], None]


def examine(
    check: Check, make: Callable[[], Backend], *, command: Command = command_of,
    patience: float = PATIENCE,
) -> None:  # fmt: skip
    """Run one check over a fresh backend, and close it.

    Args:
        check: One of CHECKS.
        make: Makes the backend.
        command: Returns the command of a program of PROGRAMS, where the default's do not exist.
        patience: How many seconds the backend may take to tell what it must.

    Raises:
        AssertionError: The backend is wrong.
    """
    try:
        with closed_after(Bench(make, command, patience)) as bench:
            check(bench)
    except (RuntimeError, UnreachableStateError) as e:
        if "no event is left" not in str(e):  # see Backend.block
            raise
        raise AssertionError(f"what was waited for was not told, and never can be: {e}") from e


@contextmanager
def closed_after(bench: Bench) -> Iterator[Bench]:
    """Close it after the block, and tell the first failure of the two."""
    try:
        yield bench
    except BaseException as error:
        try:
            bench.close()
        except Exception as e:  # noqa: BLE001 - the first failure is the one to tell
            error.add_note(f"and when it was closed: {e}")
        raise
    bench.close()


@contextmanager
def raises(*kinds: type[BaseException]) -> Iterator[list[Any]]:
    """Expect an error; the list that it yields holds it afterwards."""
    caught: list[Any] = []
    try:
        yield caught
    except kinds as error:
        caught.append(error)
    else:
        names = " or ".join(kind.__name__ for kind in kinds)
        raise AssertionError(f"no {names} was raised")
