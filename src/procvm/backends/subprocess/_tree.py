"""containment="tree": every VM is started and held by the keeper, and nothing of it escapes.

Where the keeper cannot be had, what was asked of it goes to a GroupHolder, and is told so.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ...errors import StartError
from ...facts import Survivor
from ..base import Key, Plan
from ._belongs import belongs, children_of
from ._errors import start_error, translated
from ._group import GroupHolder
from ._holds import Holding
from ._keeper import Keeper
from ._lease import LoopLease
from ._members import MARKER, family_of
from ._setup import Facts, host_facts, setup_of
from ._spare import Spare
from ._sweep import sweep_marked, sweep_tagged
from .keeper import _words as words

__all__ = ["TreeHolder"]

_OF_THE_KEEPER = ~((1 << 30) - 1)  # what all tags of one outermost keeper share
_OF_A_TREE = ~0xFFFF  # the rest is of a keeper inside of it: see keeper/_tags.py
_FIRST_SWEEP, _SLOWEST_SWEEP, _CLEAN_SWEEPS = 0.001, 0.2, 2
_NO_INTERPRETER = frozenset({
    errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.ELOOP,
})  # fmt: skip
_NO_TAG = (
    "processes cannot be tagged here: a daemon that has left its session and cleared its "
    "environment is only taken away at close"
)
_NO_PIDFD = "the keeper has no pidfd: a forked child of this program delays what its death does"
_NO_KEEPER = "the keeper cannot run here ({}): containment is 'group'"


class _Held:
    """One tree that the keeper holds."""

    def __init__(self, number: int, key: Key, plan: Plan, env: Mapping[str, str]) -> None:
        self.number, self.key, self.plan, self.env = number, key, plan, env
        self.pid: int | None = None
        self.tag: int | None = None
        self.is_told_ended = self.is_unwanted = False
        self.failure: StartError | None = None  # it runs, and is to be as if it never had


class TreeHolder:
    """Asks the keeper, and takes its place when it has died."""

    containment = "tree"

    def __init__(self, reactor: LoopLease, holding: Holding) -> None:
        self._reactor, self._holding = reactor, holding
        self._keeper: Keeper | None = None
        self._group: GroupHolder | None = None
        self._spare = Spare()
        self._held: dict[int, _Held] = {}
        self._keys: dict[Key, _Held] = {}
        self._is_closed = False
        self._weaker: tuple[str, ...] = ()

    @property
    def host_death(self) -> bool:
        """See Holder."""
        return self._group is None or self._group.host_death

    @property
    def degraded(self) -> tuple[str, ...]:
        """See Holder."""
        return self._weaker if self._group is None else (*self._weaker, *self._group.degraded)

    # --- what the backend asks ----------------------------------------------------------

    def prepare(self) -> None:
        """See Holder."""
        with suppress(OSError):
            self._join()
        if self._group is not None:
            self._group.prepare()

    def _join(self) -> None:
        if self._keeper is None and self._group is None:
            keeper = self._reactor.hub.join(self)
            if self.containment == "tree":  # else it could do less than is needed
                self._keeper = keeper

    def alert(self) -> None:
        """See Holder."""
        keeper = self._keeper
        if keeper is not None:
            keeper.alert()

    def spawn(self, key: Key, plan: Plan, env: Mapping[str, str]) -> None:
        """See Holder."""
        try:
            self._join()
        except OSError as e:  # no descriptor or process is left
            if e.errno not in _NO_INTERPRETER:
                self._holding.held_failed(key, translated(e, plan))
                return
            self._step_down(f"{sys.executable!r}: {e.strerror}")
        if self._keeper is not None:
            self._ask(self._keeper, key, plan, env)
        elif self._group is not None:
            self._group.spawn(key, plan, env)

    def _ask(self, keeper: Keeper, key: Key, plan: Plan, env: Mapping[str, str]) -> None:
        held = _Held(self._reactor.hub.number(self), key, plan, env)
        try:
            self._order(keeper, held, host_facts())
        except OSError as e:  # the same
            self._drop(held)
            self._holding.held_failed(key, translated(e, plan))
            return
        self._held[held.number] = self._keys[key] = held

    def _order(self, keeper: Keeper, held: _Held, now: Facts) -> None:
        config, plan = held.plan.config, held.plan
        setup, told = setup_of(plan, held.env, keeper.began, now)
        uses_base, delta = keeper.delta({**told, MARKER: held.key.vm_id})
        keeper.say((
            words.SPAWN, held.number, held.key.vm_id.encode(), os.fsencode(plan.executable),
            tuple(map(os.fsencode, config.command)), os.fsencode(plan.directory), uses_base, delta,
            (int(config.stop.signal), float(config.stop.grace), config.stop.to), setup,
        ))  # fmt: skip

    def stop(self, key: Key, *, grace: float) -> None:
        """See Holder."""
        held = self._keys.get(key)
        if held is not None and self._keeper is not None:
            held.is_unwanted = True
            self._keeper.say((words.STOP, held.number, float(grace)))
        elif held is None and self._group is not None:
            self._group.stop(key, grace=grace)
        elif held is None:
            self._reactor.post(lambda: self._holding.held_gone(key))

    def signal(self, key: Key, number: int, *, to: str) -> None:
        """See Holder."""
        held = self._keys.get(key)
        if held is not None and self._keeper is not None:
            self._keeper.say((words.SIGNAL, held.number, int(number), to))
        elif self._group is not None:
            self._group.signal(key, number, to=to)

    def pids(self, key: Key) -> tuple[int, ...]:
        """See Holder."""
        held = self._keys.get(key)
        if held is None:
            return self._group.pids(key) if self._group is not None else ()
        keeper = self._keeper
        root = (held.pid,) if held.pid is not None and not held.is_told_ended else ()
        if keeper is None:
            return root
        orphans = (pid for pid in children_of(keeper.process.pid) if self.owns(key, pid))
        return family_of({*root, *orphans})

    def owns(self, key: Key, pid: int) -> bool | None:
        """See Holder."""
        held = self._keys.get(key)
        if held is None:
            return self._group.owns(key, pid) if self._group is not None else False
        keeper = self._keeper  # this may be any thread
        outermost = keeper is not None and keeper.facts.get("outermost", False)
        root = None if held.is_told_ended else held.pid
        mask = _OF_A_TREE if outermost else -1
        tag = held.tag
        try:
            return self._spare.lend(lambda: belongs(pid, key.vm_id, root=root, tag=tag, mask=mask))
        except OSError:
            return None

    def release(self, key: Key) -> None:
        """See Holder."""
        held = self._keys.pop(key, None)
        if held is not None:
            self._drop(held)
        if self._group is not None:
            self._group.release(key)

    def close(self) -> None:
        """See Holder."""
        self._is_closed = True
        self._held.clear()
        self._keys.clear()
        self._spare.close()
        if self._keeper is not None:
            self._keeper = None
            self._reactor.hub.leave(self)
        if self._group is not None:
            self._group.close()

    def forget(self) -> None:
        """See Holder."""
        self._spare.close()
        if self._group is not None:
            self._group.forget()

    # --- what the keeper tells ------------------------------------------------------------

    def heard(self, fact: tuple[Any, ...], fds: list[int]) -> None:
        """See Member."""
        held = self._held.get(fact[1])
        kinds: dict[str, Callable[..., None]] = {
            words.STARTED: self._started, words.FAILED: self._failed, words.ENDED: self._ended,
            words.GONE: self._gone, words.SURVIVED: self._survived,
        }  # fmt: skip
        tell = kinds[fact[0]]
        pipes = [fds.pop(0) for _ in fds[:2]] if fact[0] == words.STARTED else []
        if held is not None and fact[0] == words.STARTED and len(pipes) < 2:  # noqa: PLR2004 - a pair
            for pipe in pipes:
                self._reactor.readers.close_pipe(pipe)
            self._take_back(held)
        elif held is not None:
            tell(held, *fact[2:], *pipes)
        else:
            for pipe in pipes:
                self._reactor.readers.close_pipe(pipe)

    def greeted(self, facts: Mapping[str, Any]) -> None:
        """See Member."""
        if not facts["subreaper"]:
            self._step_down("it cannot become a subreaper")
            self._reactor.hub.leave(self)
            return
        told = [(_NO_TAG, facts["tag"]), (_NO_PIDFD, facts["pidfd"])]
        self._weaker = tuple(text for text, works in told if not works)

    def _step_down(self, why: str) -> None:
        """Go on as "group" does, with what has not been started yet."""
        self._keeper = None
        self._group = GroupHolder(self._reactor, self._holding)
        self.containment, self._weaker = "group", (_NO_KEEPER.format(why),)
        waiting, self._held = list(self._held.values()), {}
        self._keys.clear()
        for held in waiting:
            if held.is_unwanted:
                self._holding.held_gone(held.key)
            else:
                self._group.spawn(held.key, held.plan, held.env)

    def _started(self, held: _Held, pid: int, tag: int | None, stdout: int, stderr: int) -> None:
        held.pid, held.tag = pid, tag
        self._holding.held_started(held.key, pid, stdout, stderr)

    def _take_back(self, held: _Held) -> None:
        """End what runs and cannot be read: no descriptor was left for its pipes (unix(7))."""
        number = errno.EMFILE
        held.failure = translated(OSError(number, os.strerror(number)), held.plan)
        self.stop(held.key, grace=0.0)

    def _forget_one(self, held: _Held) -> None:
        self._drop(held)
        if self._keys.get(held.key) is held:
            del self._keys[held.key]

    def _drop(self, held: _Held) -> None:
        self._held.pop(held.number, None)
        self._reactor.hub.drop(held.number)

    def _failed(self, held: _Held, number: int, step: str) -> None:
        self._forget_one(held)
        error: StartError
        if not number and step != "limits":
            why = f"{step}: it failed in the keeper"
            error = start_error(StartError, why, held.plan, step=step, number=number)
        else:
            error = translated(OSError(number, os.strerror(number)), held.plan, step)
        self._holding.held_failed(held.key, error)

    def _ended(
        self, held: _Held, code: int | None, signal: int | None, tree_gone: bool  # noqa: FBT001 - off the wire
    ) -> None:  # fmt: skip
        if held.failure is not None:
            if tree_gone:
                self._gone(held)
            return
        held.is_told_ended = True
        if tree_gone:
            self._forget_one(held)
        self._holding.held_exited(held.key, code, signal, tree_gone=tree_gone)

    def _gone(self, held: _Held) -> None:
        self._forget_one(held)
        if held.failure is not None:
            self._holding.held_failed(held.key, held.failure)
        else:
            self._holding.held_gone(held.key)

    def _survived(self, held: _Held, alive: tuple[tuple[int, str], ...]) -> None:
        self._holding.held_survived(
            held.key, tuple(Survivor(pid, command) for pid, command in alive)
        )

    # --- when the keeper has died ---------------------------------------------------------

    def lost(self, keeper: Keeper, why: str) -> None:
        """See Member."""
        self._keeper = None
        if self._is_closed:
            return
        if not keeper.is_up:
            self._step_down(why)
            return
        lost = list(self._held.values())
        self._held.clear()
        facts = keeper.facts
        tags: set[int] = set()
        mask = -1
        if facts["tag"] and facts["base"] & 0xFFFF == 0 and facts["outermost"]:
            tags, mask = {facts["base"] & _OF_THE_KEEPER}, _OF_THE_KEEPER
        elif facts["tag"]:
            tags = {held.tag for held in lost if held.tag is not None}
        self._sweep(lost, why, (tags, mask, keeper.started), 0, _FIRST_SWEEP)

    def _sweep(
        self, lost: list[_Held], why: str, what: tuple[set[int], int, int], clean: int,
        pause: float,
    ) -> None:  # fmt: skip
        """Kill until two looks in a row find nothing; then tell."""
        try:
            left = self._spare.lend(lambda: _swept(lost, what))
            clean = 0 if left else clean + 1
        except OSError:  # nothing to look with: what is left is not known
            left, clean = [], 0
        if clean >= _CLEAN_SWEEPS:
            for held in lost:
                if self._keys.get(held.key) is held:
                    del self._keys[held.key]
                    self._holding.held_lost(held.key, why)
            return
        if left and pause >= _SLOWEST_SWEEP:
            for held in lost:
                self._holding.held_survived(held.key, tuple(left))
        self._reactor.call_later(
            pause, lambda: self._sweep(lost, why, what, clean, min(2 * pause, _SLOWEST_SWEEP))
        )


def _swept(lost: list[_Held], what: tuple[set[int], int, int]) -> list[Survivor]:
    tags, mask, since = what
    left = sweep_tagged(tags, mask, since) if tags else []
    for held in lost:
        if held.tag is None:  # without a pid it may have started, and that was not heard
            left += sweep_marked(held.pid, held.key.vm_id)
    return left
