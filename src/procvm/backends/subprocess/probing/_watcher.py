"""Watcher: one probe of one incarnation, asked as its role says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from ....probes import AllOf, AnyOf, Command, Log, Notify, Probe
from .._holds import Reactor
from ._lines import LineMatcher
from ._notify import NotifySocket
from ._rounds import Rounds
from ._tries import Answer
from ._words import one_line

__all__ = ["Ask", "Watcher", "leaves_of"]

Ask = Callable[[Probe, float, threading.Event], Answer]
_FIRST, _SLOWEST, _SHARE = 0.001, 0.1, 0.01  # half of what a wait may add: a try takes time too
_REST = 4  # times what a try took: a command started again and again would be all that runs
_ONE_TRY = 5.0  # of a connection: a packet may have been lost
_NO_THREAD = 0.1


class Watcher:
    """Asks a probe: as ready until it passes, as alive at its interval until stopped.

    Events (output, notify) are seen in the loop; what has to be asked is asked in threads, each
    part in its own, so that none waits for another.

    Args:
        reactor: The loop.
        probe: What is asked.
        role: ``'ready'`` or ``'alive'``.
        answer: Gets the answers, in the loop: each word fits in one line.
        ask: Asks one part, for so many seconds or until the event; runs in a thread.
        notify: Where the program says READY=1, if the probe wants it.
    """

    def __init__(
        self, reactor: Reactor, probe: Probe, role: str, answer: Callable[[bool, str], None],
        ask: Ask, notify: NotifySocket | None,
    ) -> None:  # fmt: skip
        self._reactor, self._probe, self._role = reactor, probe, role
        self._tell_it, self._ask, self._notify = answer, ask, notify
        self._stopped = threading.Event()
        several = {id(p): p for p in leaves_of(probe)}
        self._matchers = {i: LineMatcher(p) for i, p in several.items() if isinstance(p, Log)}
        self._asked = tuple(p for p in several.values() if not isinstance(p, (Log, Notify)))
        self._passed: dict[int, str] = {}
        self._words = ""
        self._rounds: Rounds | None = None
        self._is_started = self._is_over = False

    def saw(self, stream: str, data: bytes) -> None:
        """Loop: look at more output."""
        for matcher in self._matchers.values():
            matcher.saw(stream, data)
        if self._matchers:
            self.consider()

    def start(self) -> None:
        """Loop: begin to ask."""
        self._is_started = True
        if self._role == "alive":
            ask = lambda probe, seconds: self._ask(probe, seconds, self._stopped)  # noqa: E731 - bound
            self._rounds = Rounds(self._reactor, self._probe, self._asked, ask, self._answer)
            self._rounds.start()
            return
        self.consider()
        for probe in self._asked:
            self._start_asking(probe)

    def stop(self) -> None:
        """Loop: ask no more; a late answer falls away."""
        self._is_over = True
        self._stopped.set()
        if self._rounds is not None:
            self._rounds.stop()

    def consider(self) -> None:
        """Loop: tell that it is ready, once, if it is."""
        if self._role != "ready" or self._is_over or not self._is_started:
            return
        words = self._holds(self._probe)
        if words is not None:
            self._is_over = True
            self._stopped.set()
            self._answer(True, words)

    def _answer(self, passed: bool, words: str) -> None:  # noqa: FBT001 - an answer
        self._tell_it(passed, one_line(words))

    def _holds(self, probe: Probe) -> str | None:
        """Return the words with which ``probe`` has passed; what passed once has passed."""
        if isinstance(probe, Log):
            line = self._matchers[id(probe)].matched
            return None if line is None else f"it wrote {line!r}"
        if isinstance(probe, Notify):
            is_ready = self._notify is not None and self._notify.is_ready
            return "it said READY=1" if is_ready else None
        if isinstance(probe, AllOf):
            told = [self._holds(one) for one in probe.probes]
            return None if None in told else "; ".join(filter(None, told))
        if isinstance(probe, AnyOf):
            found = (words for words in map(self._holds, probe.probes) if words is not None)
            return next(found, None)
        return self._passed.get(id(probe))

    def _start_asking(self, probe: Probe) -> None:
        if self._is_over:
            return
        try:
            threading.Thread(
                target=self._ask_until_ready, args=(probe,), name="procvm-probe", daemon=True
            ).start()
        except RuntimeError as e:  # no thread is left: there may be one a little later
            self._tried(probe, passed=False, words=str(e))
            self._reactor.call_later(_NO_THREAD, lambda: self._start_asking(probe))

    def _ask_until_ready(self, probe: Probe) -> None:
        """In a thread of its own: try quickly at first, then at a share of what it took so far."""
        began = time.monotonic()
        whole = self._probe.ready_timeout
        seconds = whole if isinstance(probe, Command) else min(_ONE_TRY, whole)
        passed, told = False, ""
        while not passed and not self._stopped.is_set():
            asked = time.monotonic()
            passed, words = self._ask(probe, seconds, self._stopped)
            if passed or words != told:  # else the loop would be woken for nothing
                told = words
                self._reactor.post(partial(self._tried, probe, passed=passed, words=words))
            if not passed:
                now = time.monotonic()
                pause = max(_FIRST, _SHARE * (now - began), _REST * (now - asked))
                self._stopped.wait(min(pause, _SLOWEST))

    def _tried(self, probe: Probe, *, passed: bool, words: str) -> None:
        if self._is_over:
            return
        if passed:
            self._passed[id(probe)] = words
            self.consider()
        elif words != self._words:
            self._words = words
            self._answer(False, words)


def leaves_of(probe: Probe) -> Iterator[Probe]:
    """Yield the parts of ``probe`` that are no combination themselves."""
    if isinstance(probe, (AllOf, AnyOf)):
        for one in probe.probes:
            yield from leaves_of(one)
    else:
        yield probe
