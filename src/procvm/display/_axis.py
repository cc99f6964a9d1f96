"""Round numbers along an axis of time."""

from __future__ import annotations

import math

__all__ = ["duration", "ticks"]

_MOST_TICKS = 8
_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"))
_LONG_STEPS = (
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0,
    3600.0, 7200.0, 10800.0, 21600.0, 43200.0, 86400.0,
)  # fmt: skip


def ticks(seconds: float) -> list[float]:
    """Return at most nine round numbers of seconds from 0 to ``seconds``."""
    if not 0 < seconds < float("inf"):
        return [0.0]
    step = _step(seconds / _MOST_TICKS)
    return [number * step for number in range(int(seconds / step * (1 + 1e-9)) + 1)]


def _step(least: float) -> float:
    for step in _LONG_STEPS:
        if least <= step and least > _LONG_STEPS[0] / 2:
            return step
    unit = 86400.0 if least > 1 else 1.0
    power = 10.0 ** math.floor(math.log10(least / unit))
    return unit * min(power * part for part in (1, 2, 5, 10) if power * part * unit >= least)


def duration(seconds: float) -> str:
    """Return seconds for people: ``90 s``, ``15 min``, ``250 ms``."""
    for unit, name in _UNITS:
        number = seconds / unit
        if number >= 1 - 1e-9 and abs(number - round(number, 3)) < 1e-6:  # noqa: PLR2004 - rounding
            return f"{number:.4g} {name}"
    return f"{seconds:.3g} s"
