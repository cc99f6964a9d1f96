"""A sink between a backend and its engine that checks the order of what is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ...backends import Key, Sink

__all__ = ["WatchedSink"]

_STREAMS = ("stdout", "stderr")


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class WatchedSink:
    """Passes everything on, and notes what a backend must not tell.

    Args:
        sink: The engine's.
        is_virtual: Whether the loop is whoever moves time, and not one thread.
    """

    def __init__(self, sink: Sink, *, is_virtual: bool) -> None:
        self._sink = sink
        self._is_virtual = is_virtual
        self._said: dict[Key, list[str]] = {}
        self.loop: int | None = None
        self.told = 0
        self.violations: list[str] = []

    def _must(self, holds: bool, key: Key, words: str) -> None:  # noqa: FBT001 - a condition
        if not holds:
            said = ", ".join(self._said.get(key, ())) or "nothing"
            self.violations.append(f"{words} (generation {key.generation}, told before: {said})")

    def _note(self, key: Key, word: str, *after: str, is_last: bool = False) -> None:
        """Note one fact of a key; ``after``: what must have been told before it."""
        self.told += 1
        said = self._said.setdefault(key, [])
        here = threading.get_ident()
        in_loop = self._is_virtual or self.loop in (None, here)
        self._must(in_loop, key, f"{word} was told outside of the loop")
        is_open = not said or said[-1] != "over"
        self._must(is_open, key, f"{word} was told of what was over")
        for wanted in after:
            self._must(wanted in said, key, f"{word} was told before {wanted}")
        if word != "output" or "output" not in said:
            said.append(word)
        if is_last:
            said.append("over")

    def started(self, key: Key, pid: int) -> None:
        """See Sink."""
        self._must("started" not in self._said.get(key, ()), key, "started was told twice")
        self._must(_is_number(pid) and pid > 0, key, f"a pid of {pid!r}")
        self._note(key, "started")
        self._sink.started(key, pid)

    def start_failed(self, key: Key, error: Any) -> None:
        """See Sink."""
        self._must("started" not in self._said.get(key, ()), key, "start_failed after started")
        self._note(key, "start_failed", is_last=True)
        self._sink.start_failed(key, error)

    def output(self, key: Key, stream: str, data: bytes) -> None:
        """See Sink."""
        self._must(stream in _STREAMS, key, f"output of {stream!r}")
        self._must(isinstance(data, bytes) and bool(data), key, f"output that is {data[:9]!r}")
        self._note(key, "output", "started")
        self._sink.output(key, stream, data)

    def exited(
        self, key: Key, code: int | None, signal: int | None, *, tree_gone: bool, why: str = ""
    ) -> None:
        """See Sink."""
        self._must("exited" not in self._said.get(key, ()), key, "exited was told twice")
        self._must(code is None or signal is None, key, "exited with a code and by a signal")
        for value in (code, signal):
            self._must(value is None or _is_number(value), key, f"an end of {value!r}")
        self._note(key, "exited", "started", is_last=tree_gone)
        self._sink.exited(key, code, signal, tree_gone=tree_gone, why=why)

    def gone(self, key: Key) -> None:
        """See Sink."""
        if self._said.get(key, [""])[-1] != "over":  # else it answers a stop that came late
            self._note(key, "gone", is_last=True)
        self._sink.gone(key)

    def survived(self, key: Key, survivors: Any) -> None:
        """See Sink."""
        self._must(bool(survivors), key, "survived without a survivor")
        self._note(key, "survived", "started")
        self._sink.survived(key, survivors)

    def lost(self, key: Key, why: str) -> None:
        """See Sink."""
        self._note(key, "lost", is_last=True)
        self._sink.lost(key, why)

    def probed(self, key: Key, role: str, *, passed: bool, words: str) -> None:
        """See Sink."""
        self._must(role in ("ready", "alive"), key, f"a probe as {role!r}")
        has_ended = "exited" in self._said.get(key, ())
        self._must(not has_ended, key, f"probed {role} was told of what has ended")
        self._note(key, f"probed {role}", "started")
        self._sink.probed(key, role, passed=passed, words=words)

    def warned(self, key: Key, words: str) -> None:
        """See Sink."""
        self._sink.warned(key, words)

    def learn_loop(self, post: Callable[[Callable[[], None]], None]) -> None:
        """Learn which thread the loop is, by a call that is posted to it."""
        post(lambda: setattr(self, "loop", threading.get_ident()))
