"""Who carries a tag, read from /proc as anybody may."""

from __future__ import annotations

from pathlib import Path


def tag_of(pid: int | str | None) -> str | None:
    """Return the tag of a living process; None when it is gone."""
    try:
        limits = Path(f"/proc/{pid}/limits").read_text()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, UnicodeDecodeError):
        return None
    return None if state in "ZX" else limits.partition("Max file locks")[2].split(None, 1)[0]


def tagged(tag: str) -> set[int]:
    """Return the living processes that carry ``tag``."""
    numbers = (entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {int(number) for number in numbers if tag_of(number) == tag}
