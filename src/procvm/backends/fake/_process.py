"""One fake process: a scripted life on the virtual clock."""

from __future__ import annotations

import re
import signal as signals
from collections.abc import Callable, Iterator

from ...probes import AllOf, AnyOf, Log, Probe
from ..base import Key, Plan, Sink
from ._clock import Clock, FakeTimer
from ._program import FakeProgram
from ._scripts import Scripts

__all__ = ["FakeProcess"]

_DEADLY = frozenset(
    {signals.SIGTERM, signals.SIGINT, signals.SIGHUP, signals.SIGQUIT, signals.SIGKILL}
)


_MOST_SHOWN = 3
_SPECIAL = re.compile(r"(?<!\\)[\n*+?{}()\[\]|.^$]")  # and not escaped
_IN_VAIN = "its script's probes never pass in time; ready_after counts for nothing beside them"


class FakeProcess:
    """Plays one FakeProgram for one incarnation."""

    def __init__(
        self, clock: Clock, sink: Sink, key: Key, plan: Plan, program: FakeProgram,
        scripts: Scripts,
    ) -> None:  # fmt: skip
        self._clock, self._sink, self._key, self._scripts = clock, sink, key, scripts
        self.plan = plan
        self.program = program
        self.pid: int | None = None
        self.is_over = False
        self._began = 0.0
        self._timers: list[FakeTimer] = []
        self._kill: FakeTimer | None = None
        self._watched: dict[str, Probe] = {}
        self._lines: dict[str, str] = {}
        self._is_ending = False

    def _later(self, delay: float, call: Callable[[], None]) -> None:
        self._timers.append(self._clock.call_later(delay, call))

    def start(self, pid: int) -> None:
        """Begin; the start takes its time."""
        self._later(self.program.start_after, lambda: self._started(pid))

    def _started(self, pid: int) -> None:
        if self.program.start_error is not None:
            self.end_silently()
            self._sink.start_failed(self._key, self.program.start_error)
            return
        self.pid = pid
        self._began = self._clock.now
        for at, stream, text in self.program.output:
            self._later(at, lambda s=stream, t=text: self._write(s, t))  # type: ignore[misc] # bound now
        for at, text in self.program.status:
            self._later(at, lambda t=text: self._sink.said(self._key, t))  # type: ignore[misc] # bound now
        if self.program.exit_after is not None:
            self._later(self.program.exit_after, self._end_by_itself)
        self._sink.started(self._key, pid)

    def _write(self, stream: str, text: str) -> None:
        self._sink.output(self._key, stream, text.encode())
        self._lines[stream] = self._lines.get(stream, "") + text
        probe = self._watched.get("ready")
        if probe is not None and not self.program.probes and self._said(probe):
            self._watched.pop("ready")
            self._sink.probed(self._key, "ready", passed=True, words="a line of output matched")

    def _said(self, probe: Probe) -> bool:
        """Whether every log probe that must match has matched."""
        if isinstance(probe, Log):
            lines = (line for text in self._lines.values() for line in text.split("\n"))
            return any(re.search(probe.pattern, line) for line in lines)
        if isinstance(probe, AllOf):
            return all(self._said(one) for one in probe.probes)
        if isinstance(probe, AnyOf):
            return any(self._said(one) for one in probe.probes)
        return self._clock.now >= self._began + self.program.ready_after

    def watch(self, role: str, probe: Probe) -> None:
        """Answer for a probe."""
        self._watched[role] = probe
        if role == "alive":
            self._later(probe.interval, lambda: self._answer_alive(probe))
        elif self.program.probes:
            in_vain = "" if self._passes_before(probe.ready_timeout) else _IN_VAIN
            if in_vain:
                self._later(0.0, lambda: self._answer_ready(False, in_vain))
            for at, passes, words in self.program.probes:
                told = f"{words} ({in_vain})" if in_vain else words
                self._later(at, lambda p=passes, w=told: self._answer_ready(p, w))  # type: ignore[misc] # bound now
        elif self._said(probe):
            self._later(0.0, lambda: self._answer_ready(True, "answered"))
        elif self.program.ready_after >= probe.ready_timeout:
            self._later(0.0, lambda: self._answer_ready(False, self._too_late()))
        else:
            self._later(self.program.ready_after, self._try_ready)

    def _passes_before(self, end: float) -> bool:
        return any(passes and at < end for at, passes, _ in self.program.probes)

    def _try_ready(self) -> None:
        probe = self._watched.get("ready")
        if probe is not None:
            said = self._said(probe)
            self._answer_ready(said, "answered" if said else self._unsaid(probe))

    def _too_late(self) -> str:
        return f"its script is ready after {self.program.ready_after:g} s (ready_after)"

    def _unsaid(self, probe: Probe) -> str:
        """Say what is wanted, what its script writes, and what a script has to look like."""
        logs, name = list(_logs_of(probe)), self.plan.config.name
        lines = "".join(text for _, _, text in self.program.output).splitlines()
        more = ", ..." if len(lines) > _MOST_SHOWN else ""
        if lines:
            writes = f"its script writes {', '.join(map(repr, lines[:_MOST_SHOWN]))}{more}"
        elif self._scripts.has(name):
            writes = "its script writes nothing"
        else:
            writes = (self._scripts.slips([name]) or [f"VM {name!r} has no script"])[0]
        wanted = " or ".join(repr(one.pattern) for one in logs)
        return f"no line matched {wanted}: {writes}; {_way_for(logs)}"

    def _answer_ready(self, passes: bool, words: str) -> None:  # noqa: FBT001 - an answer
        if "ready" in self._watched and not self.is_over:
            if passes:
                self._watched.pop("ready")
            self._sink.probed(self._key, "ready", passed=passes, words=words)

    def _answer_alive(self, probe: Probe) -> None:
        if self._watched.get("alive") is not probe or self.is_over:
            return
        self._later(probe.interval, lambda: self._answer_alive(probe))
        age = self._clock.now - self._began
        answers = [(p, w) for at, p, w in self.program.probes if at <= age]
        passes, words = answers[-1] if answers else (True, "answered")
        self._sink.probed(self._key, "alive", passed=passes, words=words)

    def unwatch(self, role: str) -> None:
        """Answer no more."""
        self._watched.pop(role, None)

    def _end_by_itself(self) -> None:
        signal = self.program.exit_signal
        self.end(None if signal is not None else self.program.exit_code, signal)

    def end(self, code: int | None, signal: int | None) -> None:
        """End now."""
        if not self.is_over and self.pid is not None:
            self.end_silently()
            self._sink.exited(self._key, code, signal, tree_gone=True)

    def end_silently(self) -> None:
        """Let nothing more come of it."""
        if self.is_over:
            return
        self.is_over = True
        self._watched.clear()
        for timer in self._timers:
            timer.cancel()
        if self._kill is not None:
            self._kill.cancel()

    def signal(self, number: int) -> None:
        """Hear a signal, or not."""
        deaf = number in self.program.ignores and number != signals.SIGKILL
        if self.is_over or deaf or number not in _DEADLY or self.pid is None:
            return
        if number == signals.SIGKILL or not self.program.stop_takes:
            self.end(None, number)
        elif not self._is_ending:
            self._is_ending = True
            self._later(self.program.stop_takes, lambda: self.end(None, number))

    def stop(self, grace: float) -> None:
        """Ask it to end; the kill comes after ``grace``, or earlier if that was said before."""
        if self.pid is None:
            self.end_silently()
            self._sink.gone(self._key)
            return
        if self.is_over:
            self._sink.gone(self._key)
            return
        due = self._clock.now + grace
        if self._kill is None or self._kill.at > due:
            if self._kill is not None:
                self._kill.cancel()
            if self._lives_on():
                self._kill = self._clock.call_later(grace, lambda: self.signal(signals.SIGKILL))

    def _lives_on(self) -> bool:
        """Send its stop signal; whether that did not end it at once."""
        self.signal(self.plan.config.stop.signal)
        return not self.is_over


def _logs_of(probe: Probe) -> Iterator[Log]:
    if isinstance(probe, Log):
        yield probe
    elif isinstance(probe, (AllOf, AnyOf)):
        for one in probe.probes:
            yield from _logs_of(one)


def _way_for(logs: list[Log]) -> str:
    """Return a script whose output passes; where none is plain to see, what one looks like."""
    lines = [re.sub(r"^\^|\$$", "", log.pattern) for log in logs]
    is_plain = not any(_SPECIAL.search(line) for line in lines)  # and so quickly tried
    lines = [re.sub(r"\\([^\w\s])", r"\1", line) for line in lines]
    if is_plain and all(map(re.search, (log.pattern for log in logs), lines)):
        text = "".join(f"{line}\n" for line in lines)
        return f"FakeProgram(output=[(0.0, 'stdout', {text!r})]) would pass"
    return "a line is scripted so: FakeProgram(output=[(0.0, 'stdout', '...\\n')])"
