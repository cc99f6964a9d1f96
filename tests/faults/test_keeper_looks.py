"""What the keeper makes of a process that shows nothing of itself for a moment, played."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from procvm.backends.subprocess.keeper import _trees
from procvm.backends.subprocess.keeper._words import ENDED, GONE

MARK = b"PROCVM_VM=ours"


class Machine:
    """One child of the keeper, in the middle of an exec for some looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, environments: Iterator[bytes]) -> None:
        self.children = {b"200"}
        self.killed: list[bytes] = []
        parts: dict[str, Any] = {
            "own_children": lambda: set(self.children),
            "environment_of": lambda _: next(environments),
            "session_of": lambda pid: pid,
            "below": lambda _: [],
            "is_stopped": lambda _: False,
            "send_group": lambda *_: None,
            "send_to_child": self._send,
        }
        for name, part in parts.items():
            monkeypatch.setattr(_trees, name, part)
        monkeypatch.setattr(_trees.Trees, "reap", lambda _: None)  # this process's own children

    def _send(self, pid: bytes, _: int) -> None:
        self.killed.append(pid)
        self.children.discard(pid)


def leaving(told: list[tuple[Any, ...]], mask: int | None) -> _trees.Trees:
    """Return trees with one whose main process has just ended."""
    trees = _trees.Trees(lambda fact: told.append(fact), mask)  # noqa: PLW0108 - a list is no callable
    tree = _trees.Tree(1, None, b"ours", (15, 0.0, "main"))
    trees.add(tree, 100)
    del trees.roots[b"100"]
    tree.status = (0, None)
    trees.stop(tree, 0.0)
    return trees


def test_a_process_in_an_exec_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be tagged: its environment reads empty until the exec is over."""

    def environments() -> Iterator[bytes]:
        yield from [b""] * 6
        while True:
            yield MARK + b"\0"

    told: list[tuple[Any, ...]] = []
    machine = Machine(monkeypatch, environments())
    trees = leaving(told, None)
    for _ in range(100):
        trees.settle()
    assert machine.killed == [b"200"]
    assert [fact[0] for fact in told][-1] == GONE


def test_a_process_without_environment_is_nobodys_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def environments() -> Iterator[bytes]:
        while True:
            yield b""

    told: list[tuple[Any, ...]] = []
    machine = Machine(monkeypatch, environments())
    monkeypatch.setattr(_trees, "_LONGEST_EXEC", 0.02)
    trees = leaving(told, None)
    trees.settle()
    assert told == []  # it may be in an exec
    while not told:
        trees.settle()
    assert told == [(ENDED, 1, 0, None, True)]
    assert machine.killed == []


def test_tagged_processes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Any, ...]] = []
    Machine(monkeypatch, iter([b""] * 100))
    monkeypatch.setattr(_trees, "tag_of", lambda _: os.getpid())
    leaving(told, -1).settle()
    assert told == [(ENDED, 1, 0, None, True)]
