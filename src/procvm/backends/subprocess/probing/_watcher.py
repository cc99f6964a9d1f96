"""Watcher: one probe of one incarnation, asked as its role says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from ....probes import AllOf, AnyOf, Log, Notify, Probe
from ...base import Plan
from .._environment import environment_of
from .._holds import Reactor
from ._lines import LineMatcher
from ._notify import NotifySocket
from ._tries import Answer, try_once

__all__ = ["Watcher"]

_FIRST, _SLOWEST, _SHARE = 0.002, 0.1, 0.02
_ONE_TRY = 5.0


def _anybody(_: int) -> bool:
    return True


class Watcher:
    """Asks a probe: as ready until it passes, as alive at its interval until stopped.

    Events (output, notify) are seen in the loop; what has to be asked is asked in one thread.
    """

    def __init__(
        self, reactor: Reactor, plan: Plan, probe: Probe, role: str,
        answer: Callable[[bool, str], None], *, owns: Callable[[int], bool] = _anybody,
    ) -> None:  # fmt: skip
        self._reactor, self._plan, self._probe, self._role = reactor, plan, probe, role
        self._answer = answer
        self._stopped = threading.Event()
        self._matchers = {id(p): LineMatcher(p) for p in _leaves(probe) if isinstance(p, Log)}
        self._passed: dict[int, str] = {}
        self._words = ""
        self._is_started = self._is_over = False
        wants_notify = any(isinstance(p, Notify) for p in _leaves(probe))
        self._notify = NotifySocket(reactor, self._consider, owns) if wants_notify else None

    @property
    def environment(self) -> dict[str, str]:
        """What the program must have in its environment."""
        return {"NOTIFY_SOCKET": self._notify.address} if self._notify is not None else {}

    def saw(self, stream: str, data: bytes) -> None:
        """Loop: look at more output."""
        for matcher in self._matchers.values():
            matcher.saw(stream, data)
        if self._matchers:
            self._consider()

    def start(self) -> None:
        """Loop: begin to ask."""
        self._is_started = True
        if any(not isinstance(p, (Log, Notify)) for p in _leaves(self._probe)):
            ask = self._ask_until_ready if self._role == "ready" else self._ask_for_ever
            threading.Thread(target=ask, name="procvm-probe", daemon=True).start()
        self._consider()

    def stop(self) -> None:
        """Loop: ask no more; a late answer falls away."""
        self._is_over = True
        self._stopped.set()
        if self._notify is not None:
            self._notify.close()

    def _consider(self) -> None:
        """Loop: tell that it is ready, once, if it is."""
        if self._role != "ready" or self._is_over or not self._is_started:
            return
        words = self._holds(self._probe)
        if words is not None:
            self._is_over = True
            self._stopped.set()
            self._answer(True, words)

    def _holds(self, probe: Probe) -> str | None:
        """Return the words with which ``probe`` has passed; what passed once has passed."""
        if isinstance(probe, Log):
            line = self._matchers[id(probe)].matched
            return None if line is None else f"it wrote {line!r}"
        if isinstance(probe, Notify):
            return (
                "it said READY=1" if self._notify is not None and self._notify.is_ready else None
            )
        if isinstance(probe, AllOf):
            told = [self._holds(one) for one in probe.probes]
            return None if None in told else "; ".join(filter(None, told))
        if isinstance(probe, AnyOf):
            return next(
                (words for words in map(self._holds, probe.probes) if words is not None), None
            )
        return self._passed.get(id(probe))

    # --- in the thread ------------------------------------------------------------------

    def _ask_until_ready(self) -> None:
        began, env = time.monotonic(), environment_of(self._plan.config)
        leaves = [p for p in _leaves(self._probe) if not isinstance(p, (Log, Notify))]
        seconds = min(_ONE_TRY, self._probe.ready_timeout)
        while not self._stopped.is_set() and leaves:
            for probe in tuple(leaves):
                passed, words = try_once(probe, self._plan, env, seconds, self._stopped)
                if passed:
                    leaves.remove(probe)
                self._reactor.post(lambda p=probe, ok=passed, w=words: self._tried(p, ok, w))  # type: ignore[misc] # bound now
            pause = max(_FIRST, _SHARE * (time.monotonic() - began))
            self._stopped.wait(min(pause, _SLOWEST))

    def _tried(self, probe: Probe, passed: bool, words: str) -> None:  # noqa: FBT001 - an answer
        if self._is_over:
            return
        if passed:
            self._passed[id(probe)] = words
            self._consider()
        elif words != self._words:
            self._words = words
            self._answer(False, words)

    def _ask_for_ever(self) -> None:
        env = environment_of(self._plan.config)
        while not self._stopped.wait(self._probe.interval):
            passed, words = self._round(self._probe, env)
            self._reactor.post(lambda ok=passed, w=words: self._tell(ok, w))  # type: ignore[misc] # bound now

    def _round(self, probe: Probe, env: dict[str, str]) -> Answer:
        if isinstance(probe, (AllOf, AnyOf)):
            answers = [self._round(one, env) for one in probe.probes]
            decide = all if isinstance(probe, AllOf) else any
            passed = decide(ok for ok, _ in answers)
            return passed, "; ".join(words for ok, words in answers if ok == passed)
        return try_once(probe, self._plan, env, self._probe.try_timeout, self._stopped)

    def _tell(self, passed: bool, words: str) -> None:  # noqa: FBT001 - an answer
        if not self._is_over:
            self._answer(passed, words)


def _leaves(probe: Probe) -> Iterator[Probe]:
    if isinstance(probe, (AllOf, AnyOf)):
        for one in probe.probes:
            yield from _leaves(one)
    else:
        yield probe
