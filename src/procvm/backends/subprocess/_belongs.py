"""Whether a process is of a tree: by its tag, its session, its parents or its marker."""

from __future__ import annotations

from ._members import MARKER, must_be_looked_at, stat_of

__all__ = ["belongs", "children_of", "tag_of"]

_DEEPEST = 1000


def belongs(
    pid: int, vm_id: str, *, root: int | None, tag: int | None = None, mask: int = -1
) -> bool | None:
    """Tell whether ``pid`` is of the tree; None when it is gone, and nobody can tell any more.

    Args:
        pid: Whom to look at; the dead that nobody has reaped still tell.
        vm_id: What the marker in the environment says.
        root: The main process's number while it is its own, else None.
        tag: The tree's tag, where trees have one: then the marker does not count.
        mask: Which bits of it are the tree's.

    Raises:
        OSError: No descriptor is left to look with.
    """
    marker = f"{MARKER}={vm_id}".encode()
    one = pid
    for _ in range(_DEEPEST):
        stat = stat_of(one)
        if stat is None:
            return None if one == pid else False
        if root is not None and root in (one, stat.session, stat.group):
            return True
        if tag is not None:
            seen = tag_of(one)
            if seen is not None and seen & mask == tag & mask:
                return True
        elif marker in _content(f"/proc/{one}/environ").split(b"\0"):
            return True
        if stat.parent <= 1:
            return False
        one = stat.parent
    return False


def children_of(pid: int) -> list[int]:
    """Return the children of a process with one thread; none where the kernel does not tell."""
    return [int(word) for word in _content(f"/proc/{pid}/task/{pid}/children").split()]


def tag_of(pid: int) -> int | None:
    """Return its soft RLIMIT_LOCKS; None when that is unlimited, or it is gone or hidden.

    Raises:
        OSError: No descriptor is left to look with.
    """
    words = _content(f"/proc/{pid}/limits").partition(b"Max file locks")[2].split(None, 1)
    return int(words[0]) if words and words[0].isdigit() else None


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - text in
            return file.read()
    except OSError as e:
        must_be_looked_at(e)
        return b""  # gone, or another user's
