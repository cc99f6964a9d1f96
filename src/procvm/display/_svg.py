"""A timeline as SVG: lanes by VM, colours by state, marks for exits and restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, pairwise

from ._axis import duration, ticks
from ._markup import clock, colour_of, escaped, shortened_name
from ._timeline import Span

__all__ = ["timeline_svg"]

_WIDTH, _GUTTER, _RIGHT, _TOP = 860.0, 160.0, 24.0, 22.0
_LANE, _BAR = 26.0, 12.0
_MOST_LANES = 200
_LEAST = 1.0  # pixel: what is nearer to what is drawn already is not seen
_APART = 8.0  # pixels between two marks of a kind: they are not to hide the lane
_FITS = 'style="max-width:100%;height:auto"'  # a page's; a picture is as large as it says
_ALONE = (
    "<style>.procvm-timeline{color:#24292f}"
    "@media(prefers-color-scheme:dark){.procvm-timeline{color:#e6edf3}}</style>"
)


def timeline_svg(
    spans: Sequence[Span], start: float, end: float, forgotten: int = 0, *, alone: bool
) -> str:
    """Return the drawing.

    Args:
        spans: Lane by lane, each lane in order of time.
        start: Where the axis begins.
        end: Where it ends.
        forgotten: How many events are missing.
        alone: Whether it is a file of its own, which has nobody's text colour to take over.
    """
    if not spans:
        words = _missing(forgotten) if forgotten else "no VM yet"
        return _framed([_text(0, _TOP, words)], 0, _TOP + 12, alone=alone)
    lanes = [list(group) for _, group in groupby(spans, key=lambda span: span.vm_id)]
    shown = lanes[:_MOST_LANES]
    length = max(end - start, 1e-9)

    def place(at: float) -> float:
        return _GUTTER + (at - start) / length * (_WIDTH - _GUTTER - _RIGHT)

    parts = list(_axis(length, place, start, _TOP + _LANE * len(shown)))
    if forgotten:
        end_of_line = ' text-anchor="end"'
        parts.append(_text(_WIDTH - _RIGHT, _TOP - 9, _missing(forgotten), end_of_line))
    for number, lane in enumerate(shown):
        parts += _lane(lane, _TOP + _LANE * number, place)
    bottom = _TOP + _LANE * len(shown) + 34
    parts += _legend(shown, bottom, len(lanes) - len(shown))
    return _framed(parts, len(lanes), bottom + 12, alone=alone)


def _missing(forgotten: int) -> str:
    return f"{forgotten} earlier events are forgotten"


def _framed(parts: Iterable[str], lanes: int, height: float, *, alone: bool) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="procvm-timeline" role="img" '
        f'aria-label="Timeline of {lanes} VMs" width="{_WIDTH:g}" height="{height:g}" '
        f'viewBox="0 0 {_WIDTH:g} {height:g}" font-family="sans-serif" font-size="12" '
        f"{'' if alone else _FITS}>"
    )
    return f"{head}{_ALONE if alone else ''}{''.join(parts)}</svg>"


def _text(x: float, y: float, words: object, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="currentColor"{more}>{escaped(words)}</text>'


def _axis(
    length: float, place: Callable[[float], float], start: float, bottom: float
) -> Iterable[str]:
    for at in ticks(length):
        x = place(start + at)
        yield (
            f'<line x1="{x:.1f}" y1="{_TOP - 4:g}" x2="{x:.1f}" y2="{bottom:g}" '
            'stroke="currentColor" stroke-opacity="0.2"/>'
        )
        yield _text(x, bottom + 14, duration(at) if at else "0", ' text-anchor="middle"')
    yield _text(_GUTTER, _TOP - 9, f"from {clock(start)}")


def _lane(lane: list[Span], top: float, place: Callable[[float], float]) -> Iterable[str]:
    name = lane[0].name
    hover = f"<title>{escaped(name)} ({escaped(lane[0].vm_id)})</title>"
    yield f"<g>{hover}{_text(0, top + _BAR + 3, shortened_name(name))}</g>"
    drawn = float("-inf")
    for span in lane:
        left, right = place(span.start), place(span.end)
        if right - drawn >= _LEAST or span is lane[-1]:
            yield _bar(span, left, max(right - left, 1.0), top + 4)
            drawn = max(right, left + 1.0)
    yield from _marks(lane, top + 4, place)


def _bar(span: Span, x: float, width: float, y: float) -> str:
    parts = [
        f'<rect x="{x:.2f}" y="{y:g}" width="{width:.2f}" height="{_BAR:g}" rx="1" '
        f'fill="{colour_of(span.state)}"/>'
    ]
    if not span.healthy and span.state != "removed":
        parts.append(
            f'<rect x="{x:.2f}" y="{y + _BAR + 1:g}" width="{width:.2f}" height="2" '
            f'fill="{colour_of("failed")}"/>'
        )
    return f"<g><title>{_hover(span)}</title>{''.join(parts)}</g>"


def _hover(span: Span) -> str:
    health = "" if span.healthy else ", unhealthy"
    lasted = "" if span.state == "removed" else f" for {span.end - span.start:.3f} s"
    going = " until now" if span.is_open else ""
    words = (
        f"{span.name}: {span.state}{health}{lasted}{going}",
        f"generation {span.generation}, restarts {span.restarts}",
        f"from {clock(span.start)}",
        span.reason[:400],
    )
    return escaped("\n".join(words))


def _marks(lane: list[Span], y: float, place: Callable[[float], float]) -> Iterable[str]:
    exits = [(span.end, f"{span.name}: the program {span.exit}") for span in lane if span.exit]
    starts = [
        (now.start, f"{now.name}: generation {now.generation}, restarts {now.restarts}")
        for was, now in pairwise(lane)
        if now.generation > was.generation
    ]
    for marks, shape, kind in ((exits, _cross, "exit"), (starts, _triangle, "restart")):
        drawn = float("-inf")
        for at, words in marks:
            x = place(at)
            if x - drawn >= _APART:
                drawn = x
                title = f"<title>{escaped(f'{words}, {clock(at)}')}</title>"
                yield f'<g class="{kind}">{title}{shape(x, y)}</g>'


def _cross(x: float, y: float) -> str:
    middle, arm = y + _BAR / 2, 3.5
    return (
        f'<path d="M{x - arm:.2f} {middle - arm:.2f}L{x + arm:.2f} {middle + arm:.2f}'
        f'M{x - arm:.2f} {middle + arm:.2f}L{x + arm:.2f} {middle - arm:.2f}" '
        'stroke="currentColor" stroke-width="2" fill="none"/>'
    )


def _triangle(x: float, y: float) -> str:
    return f'<path d="M{x:.2f} {y:.2f}l-4 -6h8z" fill="currentColor"/>'


def _legend(lanes: list[list[Span]], y: float, hidden: int) -> Iterable[str]:
    x = _GUTTER
    spans = [span for lane in lanes for span in lane if span.state != "removed"]
    signs = [(state, colour_of(state), 10) for state in dict.fromkeys(s.state for s in spans)]
    if not all(span.healthy for span in spans):
        signs.append(("unhealthy", colour_of("failed"), 2))
    for words, colour, thick in signs:
        top = y + 1 - thick
        yield (f'<rect x="{x:.1f}" y="{top:.1f}" width="10" height="{thick}" fill="{colour}"/>')
        yield _text(x + 14, y, words)
        x += 24 + 7 * len(words)
    for shape, words in ((_cross, "exit"), (_triangle, "start anew")):
        yield shape(x + 5, y - 10 if shape is _cross else y - 3)
        yield _text(x + 14, y, words)
        x += 24 + 7 * len(words)
    if hidden > 0:
        yield _text(0, y, f"and {hidden} more VMs")
