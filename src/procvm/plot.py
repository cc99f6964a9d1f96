"""Floor 10, a timeline on matplotlib's axes, for a figure of one's own (extra ``plot``)."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from itertools import groupby, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from .display import COLOURS, Timeline, clock, colour_of, duration, shortened_name, ticks
from .errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["timeline"]

_BAR, _UNHEALTHY = 0.6, 0.08
_LANE = 0.3  # inches
_LONG = 600.0  # seconds; above them an axis has minutes, hours or days


def timeline(rows: Timeline | Iterable[Mapping[str, Any]], ax: Axes | None = None) -> Axes:
    """Draw the rows of a timeline, one lane for each VM, and return the axes.

    It shows nothing by itself: saving, or ``plt.show()``, is the caller's.

    Args:
        rows: What ``manager.timeline()`` returns, or (a part of) its ``to_rows()``.
        ax: Where to draw; None: in a new figure of pyplot's, as high as its lanes need.

    Raises:
        ConfigError: These are no rows of a timeline; nothing was drawn.
        ImportError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: ICN001, PLC0415 - an extra: whoever plots has it
    except ImportError as e:
        why = "procvm.plot needs matplotlib, which is not installed: pip install 'procvm[plot]'"
        raise ImportError(why, name="matplotlib") from e
    spans = _spans(rows)
    lanes = [list(lane) for _, lane in groupby(spans, key=itemgetter("vm_id"))]
    if ax is None:
        from matplotlib import pyplot as plt  # noqa: PLC0415 - chooses a backend: only if asked

        height = max(3.0, 1.0 + _LANE * len(lanes))
        ax = plt.figure(figsize=(9.0, height), layout="constrained").add_subplot()
    start = min((span["start"] for span in spans), default=0.0)
    colour = matplotlib.rcParams["text.color"]
    is_anew = False
    for y, lane in enumerate(lanes):
        _bars(ax, lane, y, start)
        is_anew |= _marks(ax, lane, y, start, colour)
    names = [shortened_name(lane[0]["name"]) for lane in lanes]
    ax.set_yticks(range(len(lanes)), labels=names, parse_math=False)  # a $ in a name is no formula
    ax.set_ylim(len(lanes) - 0.4, -0.6)
    end = max((span["end"] for span in spans), default=start)
    if end - start > _LONG:
        ax.set_xticks(times := ticks(end - start), labels=map(duration, times))
    ax.set_xlabel(f"{'time' if end - start > _LONG else 'seconds'} since {clock(start)}")
    if spans:
        _legend(ax, spans, colour, is_anew=is_anew)
    else:
        ax.text(0.5, 0.5, "no VM", ha="center", transform=ax.transAxes)
    return ax


def _spans(rows: object) -> list[Mapping[str, Any]]:
    if inspect.isawaitable(rows):
        raise ConfigError("rows", rows, "is not awaited: await manager.timeline() first")
    given: Any = rows.to_rows() if isinstance(rows, Timeline) else rows
    spans = list(given) if isinstance(given, Iterable) else [given]
    if not all(isinstance(span, Mapping) and "start" in span for span in spans):
        raise ConfigError("rows", rows, "must be manager.timeline(), or rows of its to_rows()")
    return spans


def _bars(ax: Axes, lane: list[Mapping[str, Any]], y: int, start: float) -> None:
    states = dict.fromkeys(span["state"] for span in lane if span["state"] != "removed")
    for state in states:
        pieces = [_piece(span, start) for span in lane if span["state"] == state]
        ax.broken_barh(pieces, (y - _BAR / 2, _BAR), facecolors=colour_of(state))
    bad = [_piece(s, start) for s in lane if not s["healthy"] and s["state"] != "removed"]
    ax.broken_barh(bad, (y + _BAR / 2 + 0.03, _UNHEALTHY), facecolors=COLOURS["failed"])


def _piece(span: Mapping[str, Any], start: float) -> tuple[float, float]:
    return span["start"] - start, span["end"] - span["start"]


def _marks(ax: Axes, lane: list[Mapping[str, Any]], y: int, start: float, colour: Any) -> bool:
    """Mark ends and starts anew; whether there are any of the latter."""
    exits = [span["end"] - start for span in lane if span["exit"]]
    starts = [
        now["start"] - start
        for was, now in pairwise(lane)
        if now["generation"] > was["generation"]
    ]
    ax.plot(exits, [y] * len(exits), "x", color=colour, markersize=5, label="_exit")
    ax.plot(starts, [y - 0.4] * len(starts), "v", color=colour, markersize=4, label="_restart")
    return bool(starts)


def _legend(ax: Axes, spans: Iterable[Mapping[str, Any]], colour: Any, *, is_anew: bool) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415 - the extra
    from matplotlib.patches import Patch  # noqa: PLC0415 - the extra

    seen = {span["state"] for span in spans}
    handles: list[Any] = [
        Patch(color=colour_of(state), label=state)
        for state in COLOURS
        if state in seen and state != "removed"
    ]
    if not all(span["healthy"] for span in spans if span["state"] != "removed"):
        handles.append(Line2D([], [], color=COLOURS["failed"], linewidth=2, label="unhealthy"))
    marks = (("x", "exit", any(span["exit"] for span in spans)), ("v", "start anew", is_anew))
    for marker, words, is_there in marks:
        if is_there:
            handles.append(Line2D([], [], color=colour, marker=marker, linestyle="", label=words))
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
