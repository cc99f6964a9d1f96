"""Floor 0, whether a function can be called with what it will be given; it is not called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["why_not"]


def why_not(function: Callable[..., Any], *given: Any) -> str:
    """Return why ``function(*given)`` cannot be called, in Python's words; empty where it can.

    What tells no signature is believed: some that are written in C tell none.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*given)
    except TypeError as e:
        return str(e)
    return ""
