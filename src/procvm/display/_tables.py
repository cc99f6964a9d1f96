"""VMs, reports, events, lines of output and usages as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ._markup import MOST_ROWS, Markup, cell, clock, escaped, size, state_cell, table
from ._text import as_seen

__all__ = ["events_html", "health_html", "logs_html", "manager_html", "usage_html", "vms_html"]

_VM_HEADS = ("name", "state", "pid", "generation", "restarts", "since", "last exit", "why")


def vms_html(vms: Sequence[Mapping[str, Any]], caption: str = "", total: int | None = None) -> str:
    """Return VMs as one table, in the order given; the first ones when they are many.

    ``total`` is how many there are, where not all are given: here and for the others below.
    """
    shown = [_vm_row(vm) for vm in vms[:MOST_ROWS]]
    return table(_VM_HEADS, shown, caption) + _more(total or len(vms), "VMs")


def _vm_row(vm: Mapping[str, Any]) -> tuple[object, ...]:
    name = Markup(f'<span title="{escaped(vm["vm_id"])}">{escaped(vm["name"])}</span>')
    return (
        name, state_cell(vm["state"], healthy=vm["healthy"]), vm["pid"], vm["generation"],
        vm["restarts"], clock(vm["since"]), vm["exit"], vm["reason"],
    )  # fmt: skip


def _more(total: int, what: str) -> str:
    if total <= MOST_ROWS:
        return ""
    return f"<p>and {total - MOST_ROWS} more {what}</p>"


def manager_html(title: str, vms: Sequence[Mapping[str, Any]], degraded: Sequence[str]) -> str:
    """Return a manager: how many VMs in which state, what is weaker here, and the table."""
    states = Counter(vm["state"] for vm in vms)
    counts = ", ".join(f"{number} {state}" for state, number in states.items())
    caption = f"{title}: {_counted(len(vms))}" + (f" ({counts})" if counts else "")
    return f"<div>{vms_html(vms, caption)}{_weaker(degraded)}</div>"


def health_html(
    status: str, total: int, unhealthy: Sequence[Mapping[str, Any]], degraded: Sequence[str]
) -> str:
    """Return a report: the status, what is not healthy, and what is weaker here."""
    word = state_cell("running" if status == "good" else "failed", healthy=True)
    dot = word.split("</span>", maxsplit=1)[0] + "</span>"
    of = f": {len(unhealthy)} of {_counted(total)} not healthy"
    if not unhealthy:
        of = f": {_counted(total)}" if total else ""  # a client was told no more
    parts = [f"<p>{dot} <strong>{escaped(status)}</strong>{of}</p>"]
    if unhealthy:
        parts.append(vms_html(unhealthy))
    return f"<div>{''.join(parts)}{_weaker(degraded)}</div>"


def _counted(number: int) -> str:
    return "1 VM" if number == 1 else f"{number} VMs"


def _weaker(degraded: Sequence[str]) -> str:
    if not degraded:
        return ""
    items = "".join(f"<li>{escaped(sentence)}</li>" for sentence in degraded)
    return f"<p>Weaker here:</p><ul>{items}</ul>"


def events_html(events: Sequence[Mapping[str, Any]], total: int | None = None) -> str:
    """Return events as one table, in the order given; the last ones when they are many."""
    rows = [
        (
            clock(event["at"]), event["vm"]["name"], event["kind"],
            state_cell(event["vm"]["state"], healthy=event["vm"]["healthy"]), event["detail"],
        )
        for event in events[-MOST_ROWS:]
    ]  # fmt: skip
    before = _more(total or len(events), "events before these")
    return before + table(("at", "name", "event", "state after", "detail"), rows)


def logs_html(lines: Sequence[Mapping[str, Any]], total: int | None = None) -> str:
    """Return lines of output as one table, as they were written; the last ones of many."""
    rows = [
        (clock(line["at"]), line["generation"], line["stream"], _written(line["text"]))
        for line in lines[-MOST_ROWS:]
    ]
    before = _more(total or len(lines), "lines before these")
    return before + table(("at", "generation", "stream", "line"), rows)


def _written(text: str) -> Markup:
    style = "white-space:pre-wrap;font-family:monospace"  # an indented line stays so
    return Markup(f'<span style="{style}">{cell(as_seen(text))}</span>')


def usage_html(usage: Mapping[str, Any]) -> str:
    """Return what a tree uses, with units; what is not known is a dash and no zero."""
    percent = usage["cpu_percent"]
    rows = [
        ("processor time", f"{usage['cpu_time']:.2f} s"),
        ("processor", None if percent is None else f"{percent:.1f} %"),
        ("memory", size(usage["memory"])),
        ("processes", usage["processes"]),
        ("threads", usage["threads"]),
        ("open files", usage["open_files"]),
    ]
    return table(("of the whole tree", "now"), rows)
