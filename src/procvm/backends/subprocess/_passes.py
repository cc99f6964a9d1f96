"""Looks at the trees of "group": who looks in one turn of the loop looks in one pass."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from ._held import Held
from ._holds import Reactor
from ._members import HAS_PROC, Look, Member, alive, looks, members, send, young
from ._spare import Spare

__all__ = ["Passes"]

_log = logging.getLogger("procvm")
_BLIND = Look([], is_sure=False, is_blind=True)


class Passes:
    """Passes over /proc for the loop, with descriptors kept back for them."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._asked: deque[tuple[Held, Callable[[Look], None]]] = deque()
        self.spare = Spare()

    def now(self, held: Held) -> Look:
        """Look at this tree alone."""
        return self._look(held, self._some(held))

    def soon(self, held: Held, then: Callable[[Look], None]) -> None:
        """Call ``then`` with what lives of it: of a young tree at once, else in the next turn."""
        some = self._some(held)
        if some is not None:
            then(self._look(held, some))
            return
        if not self._asked:
            self._reactor.post(self._look_at_all)
        self._asked.append((held, then))

    def _some(self, held: Held) -> range | None:
        root = _root_of(held)
        try:
            return self.spare.lend(lambda: young(root, self._reactor.monotonic() - held.began))
        except OSError:
            return None

    def _look(self, held: Held, some: range | None) -> Look:
        root = held.pid if held.is_owned else None
        try:
            return self._with_known(
                held, self.spare.lend(lambda: members(root, held.key.vm_id, some))
            )
        except OSError:
            return _BLIND

    def _with_known(self, held: Held, look: Look) -> Look:
        """Add who was seen before and lives: in its exit a process shows its marker no more.

        It has its descriptors, a port say, until that is over. OSError: there is no descriptor.
        """
        known = held.known - {member[:2] for member in look.left}
        lasting = self.spare.lend(lambda: alive(known)) if known else []
        left = look.left + lasting
        held.known = {member[:2] for member in left}
        return look._replace(left=left) if lasting else look

    def lasting(self, left: list[Member]) -> list[Member]:
        """Return who of them lives still: a look at all may have taken long."""
        if not HAS_PROC:
            return left
        known = {member[:2] for member in left}
        try:
            now = {member[:2] for member in self.spare.lend(lambda: alive(known))}
        except OSError:
            return left
        return [member for member in left if not member.start or member[:2] in now]

    def _look_at_all(self) -> None:
        asked, self._asked = self._asked, deque()
        try:
            trees = {held.key.vm_id: _root_of(held) for held, _ in asked}
            seen = self.spare.lend(lambda: looks(trees))
        except Exception as e:  # noqa: BLE001 - of no memory, say: their looks come again
            if not isinstance(e, OSError):
                _log.warning("procvm: a look at all processes failed: %r", e)
            seen = {}
        try:
            while asked:
                held, then = asked.popleft()
                then(self._seen(held, seen.get(held.key.vm_id)))
        finally:
            if asked:  # one that fails costs the others nothing
                self._asked.extendleft(reversed(asked))
                self._reactor.post(self._look_at_all)

    def _seen(self, held: Held, look: Look | None) -> Look:
        try:
            return _BLIND if look is None else self._with_known(held, look)
        except OSError:
            return _BLIND

    def send(self, member: Member, number: int) -> None:
        """Send a signal to this very process; the next look finds again whom it did not reach."""
        try:
            self.spare.lend(lambda: send(member, number))
        except OSError:
            pass


def _root_of(held: Held) -> int | None:
    try:
        return held.pid if held.is_its_own() else None
    except OSError:  # somebody has closed its handle
        return None
