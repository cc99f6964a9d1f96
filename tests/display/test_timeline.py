"""A history as lanes, over scripted lives in virtual time."""

from __future__ import annotations

import asyncio
import json
import pickle
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import attrs
import pytest
from displayed import HOSTILE, page
from hypothesis import given, settings
from hypothesis import strategies as st

from procvm import (
    AsyncVMManager,
    FakeBackend,
    FakeProgram,
    VMConfig,
    VMManager,
    VMNotFoundError,
    VMState,
    probes,
)
from procvm.display import Span, Timeline
from procvm.display._markup import COLOURS
from procvm.engine import History
from procvm.manager._spans import timeline_of

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def fake() -> FakeBackend:
    return FakeBackend(seed=1)


@pytest.fixture
def manager(fake: FakeBackend) -> Any:
    with VMManager(fake) as made:
        yield made


def lived(timeline: Timeline, name: str = "web") -> list[tuple[str, float]]:
    return [(s.state, round(s.end - s.start, 6)) for s in timeline.spans if s.name == name]


def drawn(timeline: Timeline) -> ET.Element:
    page(timeline._repr_html_())
    return ET.fromstring(timeline._repr_svg_())  # noqa: S314 - our own text


def marks(timeline: Timeline, kind: str) -> list[str]:
    groups = drawn(timeline).iterfind(f"{SVG}g[@class='{kind}']/{SVG}title")
    return [title.text or "" for title in groups]


def test_a_life_is_told_in_stretches_of_time(fake: FakeBackend, manager: VMManager) -> None:
    fake.program("web", FakeProgram(ready_after=2.0, exit_after=5.0, exit_code=0))
    vm = manager.allocate(VMConfig("web", "x", ready=probes.tcp(80)))
    manager.wait(vm)
    fake.advance(4.0)
    assert lived(manager.timeline()) == [("starting", 2.0), ("running", 3.0), ("exited", 4.0)]
    manager.remove(vm)
    fake.advance(10.0)
    timeline = manager.timeline()
    assert lived(timeline)[-2:] == [("exited", 4.0), ("removed", 0.0)]
    assert timeline.end - timeline.start == pytest.approx(9.0)


def test_what_goes_on_is_open_until_now(fake: FakeBackend, manager: VMManager) -> None:
    manager.allocate(VMConfig("web", "x"))
    fake.advance(7.0)
    last = manager.timeline().spans[-1]
    assert (last.state, last.is_open, last.end - last.start) == ("running", True, 7.0)


def test_exits_and_restarts_are_marked_and_said(fake: FakeBackend, manager: VMManager) -> None:
    fake.program("web", FakeProgram(exit_after=4.0, exit_code=3))
    vm = manager.allocate(VMConfig("web", "x", restart="on-failure"))
    manager.wait(vm, VMState.FAILED)
    manager.reset(vm)
    timeline = manager.timeline()
    exits = marks(timeline, "exit")
    assert len(exits) == 6
    assert "exited with code 3" in exits[0]
    restarts = marks(timeline, "restart")
    assert len(restarts) == 6
    assert "generation 2, restarts 1" in restarts[0]
    assert "generation 7, restarts 0" in restarts[-1]


def test_a_bar_has_the_colour_of_its_state_and_tells_its_reason(
    fake: FakeBackend, manager: VMManager
) -> None:
    fake.program("web", FakeProgram(exit_after=4.0, exit_code=3))
    manager.wait(manager.allocate(VMConfig("web", "x")), VMState.FAILED)
    fake.advance(4.0)
    seen = {}
    for group in drawn(manager.timeline()).iterfind(f"{SVG}g"):
        bar = group.find(f"{SVG}rect")
        if bar is not None:
            words = group.findtext(f"{SVG}title") or ""
            seen[words.split()[1].strip(",")] = (bar.get("fill"), words)
    assert seen["running"][0] == COLOURS["running"]
    assert seen["failed"][0] == COLOURS["failed"]
    assert "exited with code 3" in seen["failed"][1]
    assert "4.000 s until now" in seen["failed"][1]


def test_an_unhealthy_time_is_a_stretch_of_its_own(fake: FakeBackend, manager: VMManager) -> None:
    fake.program("web", FakeProgram(probes=((5.0, False, "no answer"), (20.0, True, "ok"))))
    manager.allocate(VMConfig("web", "x", alive=probes.tcp(80)))
    fake.advance(30.0)
    healthy = [(s.state, s.healthy) for s in manager.timeline().spans if s.end > s.start]
    assert healthy == [("running", True), ("running", False), ("running", True)]


def test_a_reset_keeps_its_lane_and_a_new_vm_of_the_name_gets_one(manager: VMManager) -> None:
    first = manager.allocate(VMConfig("web", "x"))
    manager.reset(first)
    manager.remove(first)
    second = manager.allocate(VMConfig("web", "x"))
    lanes = list(dict.fromkeys(span.vm_id for span in manager.timeline().spans))
    assert lanes == [first.vm_id, second.vm_id]
    assert {span.vm_id for span in manager.timeline(second).spans} == {second.vm_id}
    assert {span.vm_id for span in manager.timeline(first).spans} == {first.vm_id}
    with pytest.raises(VMNotFoundError):
        manager.timeline("nobody")


def test_lanes_are_in_order_of_allocation_also_when_the_history_has_forgotten(
    fake: FakeBackend, manager: VMManager
) -> None:
    for name in ("zebra", "ant", "mole"):
        manager.allocate(VMConfig(name, "x"))
        fake.advance(1.0)
    manager.reset("mole")
    kept = manager.history()[-2:]
    timeline = timeline_of(kept, manager.list(), fake.wall())
    assert list(dict.fromkeys(s.name for s in timeline.spans)) == ["zebra", "ant", "mole"]
    assert lived(timeline, "zebra") == [("running", 3.0)]


def test_lanes_of_one_moment_are_in_order_of_allocation(
    fake: FakeBackend, manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the history has forgotten some events, which the timeline tells."""
    monkeypatch.setattr(manager.core.engine, "history", History(kept=8))
    names = [f"vm{number}" for number in range(4)]
    manager.allocate_all([VMConfig(name, "x") for name in names])
    fake.advance(1.0)
    manager.reset("vm2")
    timeline = manager.timeline()
    assert list(dict.fromkeys(row["name"] for row in timeline.to_rows())) == names
    assert timeline.forgotten == 8
    assert repr(timeline) == "<Timeline of 4 VMs over 1.000 s, 8 events forgotten>"
    assert "8 earlier events are forgotten" in page(timeline._repr_html_()).words


def test_a_clock_that_is_set_back_turns_no_stretch_around(
    fake: FakeBackend, manager: VMManager
) -> None:
    vm = manager.allocate(VMConfig("web", "x"))
    manager.reset(vm)
    events = manager.history()
    back = [attrs.evolve(e, at=e.at - 100.0 * n) for n, e in enumerate(events)]
    timeline = timeline_of(back, manager.list(), fake.wall() - 5000.0)
    assert all(span.start <= span.end for span in timeline.spans)
    drawn(timeline)


LIVES = st.builds(
    FakeProgram,
    exit_after=st.none() | st.floats(0.0, 20.0),
    exit_code=st.sampled_from([0, 1]),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(LIVES, min_size=1, max_size=4),
    st.lists(st.sampled_from(["reset", "remove", "advance", "allocate"]), max_size=12),
)
def test_the_stretches_of_a_lane_follow_each_other_without_a_gap(
    lives: list[FakeProgram], deeds: list[str]
) -> None:
    fake = FakeBackend()
    fake.program("web", *lives)
    with VMManager(fake) as manager:
        for deed in ["allocate", *deeds]:
            if deed == "advance":
                fake.advance(7.0)
            elif deed == "allocate" and not manager.list():
                manager.allocate(VMConfig("web", "x", restart="always"))
            elif deed != "allocate" and manager.list():
                getattr(manager, deed)("web")
        timeline, vms = manager.timeline(), manager.list()
        for _, group in groupby(timeline.spans, key=lambda span: span.vm_id):
            lane = list(group)
            assert all(span.start <= span.end for span in lane)
            assert all(was.end == now.start for was, now in pairwise(lane))
            assert [span.is_open for span in lane[:-1]] == [False] * (len(lane) - 1)
            assert lane[-1].is_open is (lane[-1].vm_id in {vm.vm_id for vm in vms})
        if vms:
            last = timeline.spans[-1]
            assert (last.state, last.start) == (vms[0].state, max(vms[0].since, last.start))
            assert last.end == fake.wall()
        drawn(timeline)


def test_rows_are_plain_data(fake: FakeBackend, manager: VMManager) -> None:
    manager.allocate(VMConfig("web", "x"))
    fake.advance(1.0)
    timeline = manager.timeline()
    rows = timeline.to_rows()
    assert all(type(row) is dict for row in rows)
    assert json.loads(json.dumps(rows)) == rows
    assert type(rows[0]["state"]) is str
    assert set(rows[0]) == set(Span._fields)
    assert pickle.loads(pickle.dumps(timeline)) == timeline
    assert repr(timeline) == "<Timeline of 1 VM over 1.000 s>"


def test_a_hostile_name_stays_a_word(manager: VMManager) -> None:
    manager.allocate(VMConfig(HOSTILE, "x"))
    found = page(manager.timeline()._repr_html_())
    assert any(HOSTILE in words for words in found.words)
    assert set(found.tags) <= {"svg", "g", "title", "text", "rect", "line", "path"}


def test_text_takes_the_colour_around_it_and_a_file_of_its_own_brings_one(
    manager: VMManager,
) -> None:
    manager.allocate(VMConfig("web", "x"))
    inside, alone = manager.timeline()._repr_html_(), manager.timeline()._repr_svg_()
    texts = list(drawn(manager.timeline()).iter(f"{SVG}text"))
    assert {text.get("fill") for text in texts} == {"currentColor"}
    assert "<style>" not in inside
    assert "prefers-color-scheme:dark" in alone


def test_its_svg_is_a_file_of_its_own_that_anything_reads(
    manager: VMManager, tmp_path: Path
) -> None:
    manager.allocate(VMConfig("wéb", "x"))
    timeline = manager.timeline()
    file = tmp_path / "timeline.svg"
    file.write_text(timeline.to_svg(), encoding="utf-8")
    root = ET.parse(file).getroot()  # noqa: S314 - our own text
    assert root.tag == f"{SVG}svg"
    assert "wéb" in [text.text for text in root.iter(f"{SVG}text")]
    assert timeline.to_svg() == timeline._repr_svg_()


def test_a_full_history_makes_no_endless_drawing() -> None:
    states = ("running", "backoff")
    spans = tuple(
        Span("a", "web", states[n % 2], n, n, n, n + 1.0, False, True, "exited with code 1", "r")
        for n in range(50_000)
    )
    many = tuple(span._replace(vm_id=str(n)) for n, span in enumerate(spans[:1000]))
    assert len(Timeline(spans)._repr_html_()) < 750_000
    found = page(Timeline(many)._repr_html_())
    assert "and 800 more VMs" in found.words


def test_that_there_is_no_vm_yet_is_said_without_an_axis(manager: VMManager) -> None:
    timeline = manager.timeline()
    found = page(timeline._repr_html_())
    assert found.words == ["no VM yet"]
    assert set(found.tags) == {"svg", "text"}
    assert [text.text for text in drawn(timeline).iter(f"{SVG}text")] == ["no VM yet"]
    assert repr(timeline) == "<Timeline of no VM yet>"
    assert timeline.to_rows() == []


def test_that_all_is_forgotten_is_not_said_to_be_nothing_yet() -> None:
    words = page(Timeline((), 7)._repr_html_()).words
    assert words == ["7 earlier events are forgotten"]


def test_it_answers_after_close_and_awaited() -> None:
    async def main() -> None:
        manager = AsyncVMManager(FakeBackend())
        await manager.allocate(VMConfig("web", "x"))
        await manager.close()
        timeline = await manager.timeline()
        assert timeline.spans[-1].state == "removed"
        assert not timeline.spans[-1].is_open

    asyncio.run(main())
