"""VMs as lines of text, for whoever shows no HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ._markup import MOST_ROWS, legal

__all__ = ["as_seen", "vms_text"]

# Of ECMA-48: the way back to the line's beginning, what erases the rest or all of it, and what
# colours, moves in and names a terminal: control sequences, strings with an end, short ones.
_CONTROL = re.compile(
    r"(?P<back>\r+)|(?P<rest>(?:\x1b\[|\x9b)0?K)|(?P<all>(?:\x1b\[|\x9b)2K)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*(?:[@-~]|$)"
    r"|\x1b[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|\x1b[ -/]*[0-~]"
)
_HEADS = ("name", "state", "pid", "generation", "restarts", "why")


def vms_text(vms: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each VM, in the order given, in columns; the first ones of many."""
    rows = [_HEADS, *(_row(vm) for vm in vms[:MOST_ROWS])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines = [
        "  ".join(words.ljust(width) for words, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    if len(vms) > MOST_ROWS:
        lines.append(f"and {len(vms) - MOST_ROWS} more VMs")
    return "\n".join(lines)


def _row(vm: Mapping[str, Any]) -> tuple[str, ...]:
    state = vm["state"] if vm["healthy"] else f"{vm['state']} (unhealthy)"
    pid = "-" if vm["pid"] is None else vm["pid"]
    words = (vm["name"], state, pid, vm["generation"], vm["restarts"], vm["reason"])
    return tuple(" ".join(legal(word).split()) for word in words)


def as_seen(line: str) -> str:
    """Return a program's line as a terminal would leave it: no colours, a bar's last state."""
    if "\x1b" not in line and "\r" not in line and "\x9b" not in line:
        return legal(line)
    cells: list[str] = []
    column = end = 0
    for found in _CONTROL.finditer(line):
        column = _write(cells, column, line[end : found.start()])
        end = found.end()
        if found["back"]:
            column = 0
        elif found["rest"]:
            del cells[column:]
        elif found["all"]:
            cells, column = [], 0  # where it went on would be blank before that
    _write(cells, column, line[end:])
    return legal("".join(cells))


def _write(cells: list[str], column: int, text: str) -> int:
    """Write over what stands there; return where it goes on."""
    cells[column : column + len(text)] = text
    return column + len(text)
