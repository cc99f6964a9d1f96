"""A timeline on matplotlib's axes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from procvm import (
    ConfigError,
    FakeBackend,
    FakeProgram,
    VMConfig,
    VMManager,
    VMState,
    plot,
    probes,
)
from procvm.display import COLOURS


@pytest.fixture
def ax() -> Any:
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    from matplotlib.figure import Figure

    return Figure().add_subplot()


@pytest.fixture
def manager() -> Iterator[VMManager]:
    fake = FakeBackend(seed=1)
    fake.program("worker", FakeProgram(exit_after=4.0, exit_code=3))
    fake.program("db", FakeProgram(ready_after=3.0))
    with VMManager(fake) as made:
        made.allocate(VMConfig("db", "x", ready=probes.tcp(5432)))
        made.wait(made.allocate(VMConfig("worker", "x", restart="on-failure")), VMState.FAILED)
        yield made


def colours(ax: Any) -> list[str]:
    from matplotlib.colors import to_hex

    return [to_hex(bars.get_facecolor()[0]) for bars in ax.collections if len(bars.get_paths())]


def test_lanes_bars_and_marks_are_drawn_from_plain_rows(ax: Any, manager: VMManager) -> None:
    rows = manager.timeline().to_rows()
    same: Any = plot.timeline(rows, ax)
    assert same is ax
    assert [label.get_text() for label in ax.get_yticklabels()] == ["db", "worker"]
    top, bottom = ax.get_ylim()
    assert top > bottom  # the first lane is the upper one
    for state in ("starting", "running", "backoff", "failed"):
        assert COLOURS[state] in colours(ax)
    marks = {line.get_label(): len(line.get_xdata()) for line in ax.lines[2:]}
    assert marks == {"_exit": 6, "_restart": 5}
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    states = ["starting", "running", "backoff", "failed"]
    assert words == [*states, "unhealthy", "exit", "start anew"]


def test_the_legend_has_what_is_drawn_alone(ax: Any) -> None:
    with VMManager(FakeBackend()) as manager:
        manager.allocate(VMConfig("web", "x"))
        plot.timeline(manager.timeline(), ax)
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words in (["running"], ["starting", "running"])


def test_what_is_no_row_is_told_what_is_and_leaves_no_empty_figure(manager: VMManager) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="the extra 'plot' is not installed")
    before = pyplot.get_fignums()
    wrong: list[Any] = [manager, manager.history(), manager.list(), [{}], None]
    for rows in wrong:
        with pytest.raises(ConfigError, match=r"must be manager\.timeline\(\)") as caught:
            plot.timeline(rows)
        assert caught.value.field == "rows"
    assert pyplot.get_fignums() == before


def test_a_bar_is_as_long_as_its_stretch(ax: Any, manager: VMManager) -> None:
    timeline = manager.timeline("db")
    plot.timeline(timeline, ax)
    boxes = [path.get_extents() for bars in ax.collections for path in bars.get_paths()]
    assert (boxes[0].x0, boxes[0].x1) == pytest.approx((0.0, 3.0))
    assert boxes[1].x1 == pytest.approx(timeline.end - timeline.start)


def test_a_name_is_no_formula(ax: Any) -> None:
    with VMManager(FakeBackend()) as manager:
        manager.allocate(VMConfig("$\\frac{$<a>&", "x"))
        plot.timeline(manager.timeline().to_rows(), ax)
        ax.figure.canvas.draw()
        assert ax.get_yticklabels()[0].get_text() == "$\\frac{$<a>&"


def test_no_rows_are_an_empty_picture(ax: Any) -> None:
    plot.timeline([], ax)
    ax.figure.canvas.draw()
    assert ax.get_yticklabels() == []
    assert [text.get_text() for text in ax.texts] == ["no VM"]


def test_without_axes_it_makes_a_figure_and_shows_nothing() -> None:
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    program = (
        "import matplotlib; matplotlib.use('Agg')\n"
        "import matplotlib.pyplot as plt; plt.show = lambda: 1 / 0\n"
        "from procvm import plot; assert plot.timeline([]).figure in map(plt.figure, [1])\n"
        "from procvm import FakeBackend, VMConfig, VMManager; manager = VMManager(FakeBackend())\n"
        "manager.allocate_all([VMConfig(f'{n}', 'x') for n in range(40)])\n"
        "figure = plot.timeline(manager.timeline()).figure\n"
        "assert figure.get_size_inches()[1] >= 40 * 0.25, 'the names stand over each other'"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)


def test_it_costs_nothing_before_the_first_picture() -> None:
    program = "import sys, procvm; procvm.plot; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'procvm\[plot\]'"):
        plot.timeline([])


def test_a_long_time_has_hours_and_a_long_name_is_cut(ax: Any) -> None:
    backend = FakeBackend()
    with VMManager(backend) as manager:
        manager.allocate(VMConfig("long" * 20, "x"))
        backend.advance(86400.0)
        axes = plot.timeline(manager.timeline(), ax)
    assert {"12 h", "1 d"} <= {label.get_text() for label in axes.get_xticklabels()}
    assert len(axes.get_yticklabels()[0].get_text()) < 30
    assert axes.get_xlabel().startswith("time since ")


def test_what_was_not_awaited_is_told_so(ax: Any) -> None:
    async def timeline() -> None: ...

    forgotten: Any = timeline()
    with pytest.raises(ConfigError, match="is not awaited: await"):
        plot.timeline(forgotten, ax)
    forgotten.close()
