"""What the log is told of a subscriber that fails: all of it once, then a line each time."""

from __future__ import annotations

import contextlib
import logging
import weakref

from ..errors import shortened

__all__ = ["Complaints"]

_log = logging.getLogger("procvm")


class Complaints:
    """Those about one subscriber; one that fails at each event would bury the log."""

    def __init__(self) -> None:
        self._known: weakref.WeakSet[type[Exception]] = weakref.WeakSet()

    def tell(self, item: object, error: Exception) -> None:
        """Log ``error`` with its traceback, or one of a kind that was told already in a line."""
        with contextlib.suppress(Exception):  # a filter of the host's, say: the next is heard
            if self._is_known(type(error)):
                _log.warning("a subscriber failed again at %.200s: %s", item, shortened(error))
            else:
                _log.error("a subscriber failed at %.200s; the others go on", item, exc_info=error)

    def _is_known(self, kind: type[Exception]) -> bool:
        try:
            is_known = kind in self._known
            self._known.add(kind)
        except TypeError:  # its class is of a class that cannot be hashed
            return False
        return is_known
