"""A bar for several starts side by side, drawn by tqdm, which is the extra ``progress``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

from ..engine import Ticket

__all__ = ["Bar"]


class Bar:
    """How many of several starts are complete; one that failed never counts.

    It is made before anything is started, so that a missing tqdm leaves nothing half done.

    Args:
        is_shown: Whether there is anything to see; else every method does nothing.

    Raises:
        ImportError: tqdm is not installed.
    """

    def __init__(self, *, is_shown: bool) -> None:
        self.is_shown = is_shown
        self._make = _tqdm() if is_shown else None
        self._drawn: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn is not None:
            self._drawn.close()

    def show(self, tickets: Sequence[Ticket]) -> None:
        """Draw it as it is now."""
        if self._make is None:
            return
        if self._drawn is None:
            self._drawn = self._make(total=len(tickets), unit="VM")
        complete = sum(ticket.has_succeeded for ticket in tickets)
        self._drawn.update(complete - self._drawn.n)


def _tqdm() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a notebook without ipywidgets has a bar of text
            from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415 - the extra
    except ImportError as e:
        why = "progress=True needs tqdm, which is not installed: pip install 'procvm[progress]'"
        raise ImportError(why, name="tqdm") from e

    class Quiet(tqdm):  # type: ignore[misc] # what it is, mypy may not see
        monitor_interval = 0  # else a thread of tqdm's would stay

    return Quiet
