"""To wait for what has no event: nobody's child, a file, a pipe's size, a process's state."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(look: Callable[[], T], *, pause: float = 0.005, timeout: float = 60.0) -> T:
    """Look again and again, and return the first answer that holds."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        assert time.monotonic() < deadline, look
        time.sleep(pause)
    return found
