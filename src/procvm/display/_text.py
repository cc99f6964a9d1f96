"""VMs as lines of text, for whoever shows no HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ._markup import MOST_ROWS, legal

__all__ = ["as_seen", "vms_text"]

# What colours, moves in and names a terminal: CSI, OSC and the short ones of ECMA-48.
_CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
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
    return legal(_CONTROL.sub("", line).rstrip("\r").rpartition("\r")[2])
