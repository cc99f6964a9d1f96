"""Whether, and when, a program that ended is started again."""

from __future__ import annotations

import math

from ._record import Draft, Moment

__all__ = ["next_delay", "restarts_used_up"]


def _recent(record: Draft, now: Moment) -> tuple[float, ...]:
    within = record.config.restart.within
    return tuple(t for t in record.restarted if now.at - t < within)


def restarts_used_up(record: Draft, now: Moment) -> bool:
    """Tell whether the budget of restarts in the window is spent."""
    limit = record.config.restart.limit
    return limit is not None and len(_recent(record, now)) >= limit


def next_delay(record: Draft, now: Moment, *, failed: bool) -> float | None:
    """Return the seconds before the next start, or None when there is none."""
    policy = record.config.restart
    wanted = policy.when == "always" or (policy.when == "on-failure" and failed)
    if not wanted or restarts_used_up(record, now):
        return None
    try:
        # As a float: the powers of a whole number grow without end.
        delay = policy.initial and policy.initial * float(policy.factor) ** streak_now(record, now)
    except OverflowError:
        delay = math.inf
    return min(min(delay, policy.maximum) * (1 + policy.jitter * now.chance), policy.maximum)


def streak_now(record: Draft, now: Moment) -> int:
    """Return how many short lives came in a row; a life of ``within`` seconds begins anew."""
    began = record.life_began
    lived = began is not None and now.at - began >= record.config.restart.within
    return 0 if lived else record.streak
