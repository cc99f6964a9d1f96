"""Checks of what programs write, and of what is told about them."""

from __future__ import annotations

import json
import pickle
import threading

from ...facts import VMState
from ...values import VMEvent
from ._bench import Bench, Check

__all__ = ["CHECKS"]


def output_is_kept_beyond_the_removal(bench: Bench) -> None:
    """What a program wrote is there after its end, and after its removal."""
    manager = bench.manager
    says = manager.allocate(bench.config("says"))
    manager.wait(says)
    assert [str(line) for line in manager.logs(says)] == ["hello"]
    manager.remove(says)
    assert [str(line) for line in manager.logs(says)] == ["hello"]
    assert [str(line) for line in manager.follow(says)] == ["hello"]


def what_it_wrote_is_told_before_its_end(bench: Bench) -> None:
    """When an exit is told, everything that was written before it is in the log."""
    for number in range(5):
        loud = bench.manager.allocate(bench.config("loud"))
        bench.manager.wait(loud)
        lines = bench.manager.logs(loud)
        assert len(lines) == 2000, f"try {number}: {len(lines)} lines"  # noqa: PLR2004 - seq 2000
        assert str(lines[-1]) == "2000"
        bench.manager.remove(loud)


def the_two_streams_are_told_apart(bench: Bench) -> None:
    """A line knows its stream and its generation."""
    moans = bench.manager.allocate(bench.config("moans"))
    bench.manager.wait(moans)
    bench.manager.reset(moans)
    bench.manager.wait(moans)
    lines = bench.manager.logs(moans)
    assert [(str(line), line.stream, line.generation) for line in lines] == [
        ("moan", "stderr", 1), ("moan", "stderr", 2),
    ]  # fmt: skip


def events_come_in_order_and_history_keeps_them(bench: Bench) -> None:
    """A subscriber and the history are told the same, in the same order."""
    seen: list[VMEvent] = []
    removed = threading.Event()

    def note(event: VMEvent) -> None:
        seen.append(event)
        if event.kind == "removed":
            removed.set()

    undo = bench.manager.subscribe(note)
    bench.manager.allocate(bench.config("web"))
    bench.manager.remove("web")
    bench.until(removed.is_set, "the subscriber was told of the removal")
    kinds = [event.kind for event in seen]
    assert kinds == ["allocated", "started", "ready", "stopping", "exited", "removed"]
    assert [event.kind for event in bench.manager.history()] == kinds
    json.dumps([event.as_dict() for event in seen])
    undo()


def a_subscriber_that_raises_hurts_nobody(bench: Bench) -> None:
    """Its failure is logged, and everything goes on."""

    def bad(event: VMEvent) -> None:
        raise RuntimeError(event.kind)

    bench.manager.subscribe(bad)
    assert bench.manager.allocate(bench.config("web")).state is VMState.RUNNING


def a_snapshot_is_a_value(bench: Bench) -> None:
    """It can be pickled, compared and hashed, shows no secret, and never changes."""
    web = bench.manager.allocate(bench.config("web", env={"SECRET": "hidden"}))
    assert pickle.loads(pickle.dumps(web)) == web  # noqa: S301 - our own
    assert {web: 1}[web] == 1
    assert "hidden" not in repr(web)
    bench.manager.reset(web)
    assert web.generation == 1


CHECKS: tuple[Check, ...] = (
    output_is_kept_beyond_the_removal, what_it_wrote_is_told_before_its_end,
    the_two_streams_are_told_apart, events_come_in_order_and_history_keeps_them,
    a_subscriber_that_raises_hurts_nobody, a_snapshot_is_a_value,
)  # fmt: skip
