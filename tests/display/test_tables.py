"""What a notebook shows of values and managers."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from displayed import HOSTILE, page

from procvm import (
    AsyncVMManager,
    Exit,
    ExitedBeforeReadyError,
    FakeBackend,
    FakeProgram,
    HealthReport,
    LogLine,
    Usage,
    VMConfig,
    VMManager,
    VMState,
    probes,
)
from procvm.display import MOST_ROWS, as_seen


def pretty(shown: Any) -> str:
    """What IPython's terminal prints."""
    parts: list[str] = []
    shown._repr_pretty_(SimpleNamespace(text=parts.append), False)
    return "".join(parts)


@pytest.fixture
def manager() -> Any:
    with VMManager(FakeBackend()) as made:
        yield made


def test_a_manager_shows_its_vms_in_order_of_allocation(manager: VMManager) -> None:
    for name in ("zebra", "ant", "mole"):
        manager.allocate(VMConfig(name, "x"))
    manager.reset("zebra")
    text = page(manager._repr_html_()).text
    assert text.index("zebra") < text.index("ant") < text.index("mole")
    assert "VMManager: 3 VMs (3 running)" in text


def test_a_hostile_name_stays_a_word_everywhere(manager: VMManager) -> None:
    manager.backend.program(HOSTILE, FakeProgram(exit_after=5.0, exit_code=1))  # type: ignore[attr-defined]
    vm = manager.allocate(VMConfig(HOSTILE, [HOSTILE], env={"KEY": HOSTILE}))
    bad = manager.wait(vm, VMState.FAILED)
    report = attrs.evolve(manager.health(), degraded=(HOSTILE,))
    events = manager.history()
    values: list[Any] = [manager, vm, bad, report, *events]
    for shown in values:
        assert HOSTILE in page(shown._repr_html_()).text, shown
    assert HOSTILE in page(events[0]._repr_html_()).text
    assert repr(HOSTILE)[:40] in page(events[0]._repr_html_()).text


def test_hostile_words_in_every_field_stay_words(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("web", "x"))
    wild = attrs.evolve(vm, vm_id=HOSTILE, name=HOSTILE, reason=HOSTILE + "\x00\ud800")
    found = page(wild._repr_html_())
    assert found.words.count(HOSTILE) == 1
    assert ("title", HOSTILE) in found.attributes


def test_values_of_the_environment_are_never_shown(manager: VMManager) -> None:
    config = VMConfig("web", ["x", "argument-sesame"], env={"TOKEN": "open-sesame"})
    vm = manager.allocate(config)
    report = HealthReport("bad", 1, (vm,))
    shown: list[Any] = [manager, vm, manager.health(), report, *manager.history()]
    for value in shown:
        assert "sesame" not in value._repr_html_()


def test_the_state_is_a_word_and_not_a_colour_alone(manager: VMManager) -> None:
    manager.backend.program("web", FakeProgram(exit_after=5.0, exit_code=3))  # type: ignore[attr-defined]
    vm = manager.wait(manager.allocate(VMConfig("web", "x")), VMState.FAILED)
    text = page(vm._repr_html_()).text
    assert "failed" in text
    assert "unhealthy" in text
    assert "exited with code 3" in text


def test_nothing_is_painted_behind_the_text(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("web", "x"))
    for value in (manager, vm, manager.health(), manager.usage(vm), manager.history()[0]):
        styles = [text for name, text in page(value._repr_html_()).attributes if name == "style"]
        for style in styles:
            pairs = dict(part.split(":", 1) for part in style.split(";"))
            assert pairs.get("background", "none") == "none"
            assert pairs.keys().isdisjoint({"background-color"})


def test_a_report_says_how_many_and_what_is_weaker() -> None:
    good = page(HealthReport("good", 1)._repr_html_()).text
    assert "good" in good
    assert "1 VM" in good
    assert "Weaker" not in good
    assert "no keeper" in page(HealthReport("good", 0, (), ("no keeper",))._repr_html_()).text


def test_a_usage_has_units_and_what_is_unknown_is_no_zero() -> None:
    text = page(Usage(1.5, None, 3 * 2**20, 4, 2, 9)._repr_html_()).text
    assert "1.50 s" in text
    assert "3.0 MiB" in text
    assert "\u2013" in text
    assert "0.0 %" not in text
    assert "12.5 %" in page(Usage(1.5, 12.5, 1, 1, 1, 1)._repr_html_()).text


def test_of_many_vms_the_first_are_shown_and_all_are_counted(manager: VMManager) -> None:
    manager.allocate_all([VMConfig(f"vm{n}", "x") for n in range(250)])
    text = page(manager._repr_html_()).text
    assert "250 VMs (250 running)" in text
    assert "vm199" in text
    assert "vm200" not in text
    assert "and 50 more VMs" in text


def test_a_closed_manager_says_so() -> None:
    manager = VMManager(FakeBackend())
    manager.allocate(VMConfig("web", "x"))
    manager.close()
    assert "VMManager (closed): 0 VMs" in page(manager._repr_html_()).text


def test_the_async_face_shows_itself_without_being_awaited() -> None:
    async def main() -> str:
        async with AsyncVMManager(FakeBackend()) as manager:
            await manager.allocate(VMConfig("web", "x"))
            return manager._repr_html_()

    text = page(asyncio.run(main())).text
    assert "AsyncVMManager: 1 VM (1 running)" in text
    assert "web" in text


def test_rendering_waits_for_nobody(manager: VMManager) -> None:
    """The loop of a fake is held by its lock: whoever needs the loop would wait here."""
    vm = manager.allocate(VMConfig("web", "x"))
    shown: list[Any] = [manager, vm, manager.health(), *manager.history()]
    texts: list[str] = []
    with manager.backend._lock:  # type: ignore[attr-defined]
        thread = threading.Thread(target=lambda: texts.extend(s._repr_html_() for s in shown))
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
    assert all("web" in page(text).text for text in texts if "good" not in text)
    assert len(texts) == len(shown)


def test_an_import_of_procvm_brings_no_display() -> None:
    code = (
        "import sys, procvm; procvm.VMManager, procvm.AsyncVMManager\n"
        "assert not [name for name in sys.modules if name.startswith('procvm.display')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_list_of_vms_or_events_is_one_table_and_a_list_like_any_other() -> None:
    async def awaited() -> list[Any]:
        async with AsyncVMManager(FakeBackend()) as other:
            vms = await other.allocate_all([VMConfig("one", "x"), VMConfig("two", "x")])
            return [vms, await other.list(), await other.history(), await other.history("two")]

    with VMManager(FakeBackend()) as manager:
        vms = manager.allocate_all([VMConfig("one", "x"), VMConfig("two", "x")])
        lists = [vms, manager.list(), manager.history(), manager.history("two")]
    for one in [*lists, *asyncio.run(awaited())]:
        plain = list(one)
        assert one == plain
        assert repr(one) == repr(plain)
        assert pickle.loads(pickle.dumps(one)) == plain
        shown = page(one._repr_html_())
        assert shown.tags.count("table") == 1
        assert shown.text.count("two") == len(
            [x for x in plain if getattr(x, "vm", x).name == "two"]
        )
        assert one[0] == plain[0]
        assert one[-1:] == plain[-1:]
        assert "two" in page(one[-1:]._repr_html_()).text


def test_in_a_terminal_each_is_a_line_and_of_many_the_last() -> None:
    backend = FakeBackend()
    written = [(0.0, "stdout", f"line {number}\n") for number in range(3000)]
    backend.program("vm", FakeProgram(output=written))
    with VMManager(backend) as manager:
        manager.allocate(VMConfig("vm", "x"))
        backend.advance(1)
        lines = pretty(manager.logs("vm")).split("\n")
        assert lines[0] == f"... and {3000 - MOST_ROWS} before these"
        assert lines[-1] == "line 2999"
        assert len(lines) == MOST_ROWS + 1
        assert pretty(manager.list()).split()[-6:] == [
            "vm",
            "running",
            "4194306",
            "1",
            "0",
            "running",
        ]
        assert pretty(manager.history()[:1]).startswith("vm: allocated - to run 'x'")
        vm, report, event = manager.get("vm"), manager.health(), manager.history()[0]
        ended, line = Exit(3, None, 1.0), LogLine("text", "stdout", 1.0, 1)
        for one in (vm, report, event, Usage(0.3, None, 2**20, 1, 1, 3), ended, line):
            assert pretty(one) == str(one)
        odd = attrs.evolve(vm, reason="\x1b]0;owned\x07")
        assert pretty(odd).endswith("\ufffd]0;owned\ufffd")
        assert pretty(manager.logs("vm", tail=0)) == pretty(manager.list()[:0]) == "[]"
        backend.program("bad", FakeProgram(output=[(0.0, "stdout", "\x1b]0;owned\x07\n\x07\n")]))
        manager.allocate(VMConfig("bad", "x"))
        backend.advance(1)
        assert pretty(manager.logs("bad")) == "\n\ufffd"


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("plain", "plain"),
        ("  indented\tand tabbed", "  indented\tand tabbed"),
        ("\x1b[1;31mred\x1b[0m and \x1b[38:2::9:9:9mmore\x1b[m", "red and more"),
        ("\x1b[2K\x1b[1Gcleared", "cleared"),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x07", "link"),
        ("\x1b]0;a title without end: disk is full", "0;a title without end: disk is full"),
        ("\x1bPq#0;2payload\x1b\\text", "text"),
        ("\x1b(Bset\x1b7 and\x1bM", "set and"),
        ("\x1b[31;", ""),
        ("\x9b31mred", "red"),
        ("10 %\r50 %\r100 %", "100 %"),
        ("hello world\rbye", "byelo world"),
        ("ERROR: out of memory\r", "ERROR: out of memory"),
        ("Working...\r\x1b[Kdone", "done"),
        ("Working...\r\x1b[K", ""),
        ("Working...\x1b[2K\rdone", "done"),
        ("done\r\r", "done"),
        ("\x07bell, \x1b", "\ufffdbell, \ufffd"),
        ("", ""),
    ],
)
def test_a_line_is_shown_as_a_terminal_would_leave_it(line: str, seen: str) -> None:
    assert as_seen(line) == LogLine(line, "stdout", 0.0, 1).shown == seen
    backend = FakeBackend()
    backend.program("x", FakeProgram(output=[(0.0, "stdout", line)], exit_after=1.0))
    with VMManager(backend) as manager:
        with pytest.raises(ExitedBeforeReadyError) as caught:
            manager.allocate(VMConfig("x", "x", ready=probes.log("never")))
        if line:
            assert str(caught.value).endswith(f"  stdout: {seen}")
            assert caught.value.logs[0].text == line.removesuffix("\r"), "the value is whole"


def test_a_hostile_line_is_shown_in_time_that_grows_with_it_alone() -> None:
    for hostile in ("a\x1b[2K", "x" * 50 + "\r.", "\x1b[", "\x1b]", "\x1bP", "\x1b[K"):
        as_seen(hostile * (2**20 // len(hostile)))  # minutes, where it grew with its square


def test_output_is_one_table_of_the_last_lines_as_they_were_written() -> None:
    async def awaited(fake: FakeBackend) -> list[Any]:
        async with AsyncVMManager(fake) as other:
            await other.allocate(VMConfig("one", "x"))
            fake.advance(1.0)
            return [await other.logs("one")]

    def fake() -> FakeBackend:
        made = FakeBackend()
        text = "".join(f"line {n}\n" for n in range(250))
        text += f"    \x1b[31mred\x1b[0m, {HOSTILE}\n"
        made.program("one", FakeProgram(output=[(0.5, "stderr", text)]))
        return made

    with VMManager(backend := fake()) as manager:
        manager.allocate(VMConfig("one", "x"))
        backend.advance(1.0)
        lists = [manager.logs("one"), *asyncio.run(awaited(fake()))]
    for lines in lists:
        plain = list(lines)
        assert lines == plain
        assert repr(lines) == repr(plain)
        assert pickle.loads(pickle.dumps(lines)) == plain
        shown = page(lines._repr_html_())
        assert shown.tags.count("table") == 1
        assert "and 51 more lines before these" in shown.text
        assert "line 50" not in shown.words
        assert "line 51" in shown.words
        assert f"    red, {HOSTILE}" in shown.words
        assert "stderr" in shown.words


def test_a_hostile_name_in_a_list_stays_a_word() -> None:
    with VMManager(FakeBackend()) as manager:
        manager.allocate(VMConfig(HOSTILE, "x"))
        assert HOSTILE in page(manager.list()._repr_html_()).text  # type: ignore[attr-defined]
        assert HOSTILE in page(manager.history()._repr_html_()).text  # type: ignore[attr-defined]
