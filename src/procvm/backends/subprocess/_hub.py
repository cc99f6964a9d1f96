"""The one keeper of this process, and whose tree each of its facts is of; lives in the loop."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

from ._holds import Reactor
from ._keeper import Keeper
from .keeper import _words as words

__all__ = ["KeeperHub", "Member"]


class Member(Protocol):
    """Whoever has trees with the keeper: one holder for each backend."""

    def greeted(self, facts: Mapping[str, Any]) -> None:
        """The keeper is up, and can do this."""

    def heard(self, fact: tuple[Any, ...], fds: list[int]) -> None:
        """Something happened to a tree of this member's."""

    def lost(self, keeper: Keeper, why: str) -> None:
        """The keeper has ended unasked; the next ``join`` gets another."""


class KeeperHub:
    """Starts the keeper for its first member and ends it with its last."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._keeper: Keeper | None = None
        self._members: list[Member] = []
        self._whose: dict[int, Member] = {}
        self._number = 0

    def join(self, member: Member) -> Keeper:
        """Return the keeper, started if there is none; OSError: it cannot be."""
        keeper = self._keeper
        if keeper is None:
            keeper = self._keeper = Keeper(self._reactor, self._heard, self._lost)
        self._members.append(member)
        if keeper.is_up:
            member.greeted(keeper.facts)
        return keeper

    def number(self, member: Member) -> int:
        """Return a number for a new tree of ``member``."""
        self._number += 1
        self._whose[self._number] = member
        return self._number

    def drop(self, number: int) -> None:
        """Forget a tree; what is still told of it falls away."""
        self._whose.pop(number, None)

    def leave(self, member: Member) -> None:
        """Be a member no more; the last one ends the keeper, and waits for its end."""
        if member not in self._members:
            return
        self._members.remove(member)
        self._whose = {n: other for n, other in self._whose.items() if other is not member}
        if not self._members and self._keeper is not None:
            keeper, self._keeper = self._keeper, None
            keeper.close()

    def forget(self) -> None:
        """In a forked child: close its copy of the socket."""
        if self._keeper is not None:
            self._keeper.forget()

    def _heard(self, fact: tuple[Any, ...], fds: list[int]) -> None:
        if fact[0] == words.HELLO:
            for member in tuple(self._members):
                member.greeted(fact[2])
            return
        owner = self._whose.get(fact[1])
        if owner is not None:
            owner.heard(fact, fds)
        elif fact[0] == words.STARTED:
            for _ in fds[:2]:
                os.close(fds.pop(0))

    def _lost(self, why: str) -> None:
        keeper, self._keeper = self._keeper, None
        members, self._members = self._members, []
        self._whose.clear()
        assert keeper is not None  # noqa: S101 - it is the one that tells
        for member in members:
            member.lost(keeper, why)
