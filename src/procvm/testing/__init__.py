"""Floor 9, what users need to test: fixtures, a leak check, a contract for backends, strategies.

What needs pytest or hypothesis imports it where it is used. Nothing of procvm imports this floor.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ._fixture import vm_fixture
from ._leaks import LeakError, no_leaks
from ._witness import Witness

if TYPE_CHECKING:
    from .contract import CHECKS, PROGRAMS, BackendContract, Bench, Check, Program, examine

__all__ = [
    "CHECKS", "PROGRAMS", "BackendContract", "Bench", "Check", "LeakError", "Program", "Witness",
    "examine", "no_leaks", "vm_fixture",
]  # fmt: skip

_CONTRACT = ("CHECKS", "PROGRAMS", "BackendContract", "Bench", "Check", "Program", "examine")


def __getattr__(name: str) -> object:
    """Load the contract when it is first used; the plugin needs none of it."""
    if name in _CONTRACT:
        from . import contract  # noqa: PLC0415 - the door stays light

        return getattr(contract, name)
    if name == "strategies":  # not in __all__: it needs hypothesis
        return importlib.import_module(f"{__name__}.strategies")
    raise AttributeError(f"module 'procvm.testing' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Name what there is, also what is not loaded yet."""
    return [*__all__, "strategies"]
