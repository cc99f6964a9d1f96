"""What a caller waits for, and for how long: looked at before anything is waited for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .._callable import why_not
from ..errors import ConfigError
from ..facts import VMState
from ..lifecycle import is_final
from ..values import VM

__all__ = ["A_LOOK", "Until", "Wanted", "last", "plain", "seconds", "takes_one"]

A_LOOK = 0.5  # seconds for the loop to say what it saw before time was up: also with timeout=0
Until = VMState | str | Callable[[VM], bool]


def seconds(field: str, value: float | None) -> float | None:
    """Return ``value`` when it is a duration or None; ConfigError otherwise."""
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 <= value < float("inf")
    ):
        raise ConfigError(field, value, "must be a finite number of seconds, at least 0")
    return value


def last(value: int | None, what: str) -> int | None:
    """Return ``value`` when it is how many of the last ones to give, or None; else ConfigError."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ConfigError("tail", value, f"must be a number of {what}, at least 0, or None")
    return value


def plain(field: str, function: Callable[..., Any], way: str) -> None:
    """Refuse a coroutine function, which nobody would await."""
    if inspect.iscoroutinefunction(function):
        raise ConfigError(field, function, f"is a coroutine function, which is not awaited: {way}")


def takes_one(field: str, function: Callable[..., Any], what: str) -> None:
    """Refuse what cannot be called with one argument; what tells no signature is believed."""
    why = why_not(function, None)
    if why:
        raise ConfigError(field, function, f"must be callable with {what} alone: {why}")


class Wanted:
    """The predicate that ``until`` stands for; none: that the VM has ended."""

    def __init__(self, until: tuple[Until, ...]) -> None:
        one: Any
        for one in until:
            if not callable(one) and one not in list(VMState):
                words = f"must be a state ({', '.join(VMState)}) or a function of a VM"
                if isinstance(one, (list, tuple, set, frozenset)):
                    words += "; several are given one after the other, each an argument"
                raise ConfigError("until", one, words)
            if callable(one):
                plain("until", one, "it must answer at once")
                takes_one("until", one, "a VM")
        self._states = {VMState(one): True for one in until if isinstance(one, str)}
        self._tests = [one for one in until if not isinstance(one, str)]

    def __str__(self) -> str:
        """Say what is waited for."""
        tests = ["a function to hold"] if self._tests else []
        return " or ".join([*self._states, *tests]) or "its end"

    def __call__(self, vm: VM) -> bool:
        if not self._states and not self._tests:
            return is_final(vm.state)
        return vm.state in self._states or any(self._holds(test, vm) for test in self._tests)

    def _holds(self, test: Callable[[VM], bool], vm: VM) -> bool:
        answer: Any = test(vm)
        if inspect.iscoroutine(answer):
            answer.close()  # else Python warns that nobody awaited it
            raise ConfigError("until", test, "returned a coroutine, which is not awaited")
        return bool(answer)
