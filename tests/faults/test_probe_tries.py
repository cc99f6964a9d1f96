"""How a readiness probe is tried: often, and without a word more than is new."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from procvm import SubprocessBackend, VMConfig, VMManager, VMState, probes

TRIES = 20


class Heard:
    """A sink that counts the answers of probes on their way to another."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self.words: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    def probed(self, key: Any, role: str, *, passed: bool, words: str) -> None:
        self.words.append(words)
        self._sink.probed(key, role, passed=passed, words=words)


class Overheard(SubprocessBackend):
    """Real processes, and what their probes say."""

    heard: Heard

    def open(self, sink: Any) -> None:
        self.heard = Heard(sink)
        super().open(self.heard)


def failing(words: str) -> Callable[[], bool]:
    """Return a function that fails at first."""
    tries = itertools.count()

    def function() -> bool:
        if next(tries) < TRIES:
            raise RuntimeError(words)
        return True

    return function


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_the_same_words_of_several_probes_are_told_once(containment: Any) -> None:
    """Else each try would wake the loop, and the words of two would take turns for ever."""
    ready = probes.all_of(probes.call(failing("one")), probes.call(failing("another")))
    backend = Overheard(containment)
    with VMManager(backend) as manager:
        vm = manager.allocate(VMConfig("x", ["sleep", "1000"], ready=ready))
        assert vm.state is VMState.RUNNING
    *failures, last = backend.heard.words
    assert sorted(failures) == ["RuntimeError: another", "RuntimeError: one"]
    assert last == "the function returned True; the function returned True"
