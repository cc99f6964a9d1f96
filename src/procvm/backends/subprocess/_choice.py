"""Which holder a backend gets: the one that was asked for, or the strongest that works here."""

from __future__ import annotations

from ...errors import ConfigError
from ._group import GroupHolder
from ._holds import Holder, Holding
from ._keeper import tree_is_possible
from ._lease import LoopLease
from ._tree import TreeHolder

__all__ = ["holder_for"]


def holder_for(containment: str | None, reactor: LoopLease, backend: Holding) -> Holder:
    """Return it; ConfigError: "tree" was asked for, and is not to be had."""
    if containment == "group":
        return GroupHolder(reactor, backend)
    if tree_is_possible():
        return TreeHolder(reactor, backend)
    if containment == "tree":
        why = "needs Linux with pidfds and an interpreter in sys.executable: use group"
        raise ConfigError("containment", containment, why)
    return GroupHolder(reactor, backend)
