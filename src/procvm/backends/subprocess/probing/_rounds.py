"""A liveness probe: asked at its interval, all its parts side by side, within its time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ....probes import AllOf, AnyOf, Probe
from ...base import Timer
from .._holds import Reactor
from ._tries import Answer

__all__ = ["Rounds"]

_SLACK = 0.1  # seconds for a try to say itself that its time is over


class Rounds:
    """Lives in the loop; each try runs in a thread of its own, and may never come back.

    Args:
        reactor: The loop.
        probe: What is asked.
        leaves: Its parts that are asked themselves.
        ask: Asks one part for so many seconds; runs in a thread.
        answer: Gets the answer of each round, in the loop.
    """

    def __init__(
        self, reactor: Reactor, probe: Probe, leaves: tuple[Probe, ...],
        ask: Callable[[Probe, float], Answer], answer: Callable[[bool, str], None],
    ) -> None:  # fmt: skip
        self._reactor, self._probe, self._leaves = reactor, probe, leaves
        self._ask, self._answer = ask, answer
        self._answers: dict[int, Answer] = {}
        self._busy: set[int] = set()
        self._timer: Timer | None = None
        self._number = 0
        self._is_over = False

    def start(self) -> None:
        """Ask for the first time after an interval."""
        self._timer = self._reactor.call_later(self._probe.interval, self._begin)

    def stop(self) -> None:
        """Ask no more; a late answer falls away."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        self._answers = {}
        self._number += 1
        self._timer = self._reactor.call_later(self._probe.try_timeout + _SLACK, self._conclude)
        for leaf in self._leaves:
            if id(leaf) in self._busy:
                continue  # its last try has not come back yet: one at a time
            self._busy.add(id(leaf))
            try:
                threading.Thread(
                    target=self._try, args=(leaf, self._number), name="procvm-probe", daemon=True
                ).start()
            except RuntimeError as e:  # no thread is left
                self._busy.discard(id(leaf))
                self._answers[id(leaf)] = (False, str(e))
        self._conclude_if_complete()

    def _try(self, leaf: Probe, number: int) -> None:
        told = self._ask(leaf, self._probe.try_timeout)
        self._reactor.post(lambda: self._answered(leaf, number, told))

    def _answered(self, leaf: Probe, number: int, told: Answer) -> None:
        self._busy.discard(id(leaf))
        if number == self._number and not self._is_over:
            self._answers[id(leaf)] = told
            self._conclude_if_complete()

    def _conclude_if_complete(self) -> None:
        if len(self._answers) == len(self._leaves):
            self._conclude()

    def _conclude(self) -> None:
        """Tell the round's answer; what is not there by now has failed."""
        if self._is_over:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._number += 1
        self._timer = self._reactor.call_later(self._probe.interval, self._begin)
        self._answer(*self._of(self._probe))

    def _of(self, probe: Probe) -> Answer:
        if isinstance(probe, (AllOf, AnyOf)):
            answers = [self._of(one) for one in probe.probes]
            decide = all if isinstance(probe, AllOf) else any
            passed = decide(ok for ok, _ in answers)
            return passed, "; ".join(words for ok, words in answers if ok == passed)
        late = f"{probe.kind} did not answer within {self._probe.try_timeout:g} s"
        return self._answers.get(id(probe), (False, late))
