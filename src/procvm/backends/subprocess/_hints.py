"""What somebody used to a shell may have meant by a name that is not there."""

from __future__ import annotations

import os
import re

__all__ = ["hint_of"]

_SETTING = re.compile(r"[A-Za-z_]\w*=")
_BUILT_IN = frozenset({".", "alias", "cd", "eval", "exec", "export", "set", "source", "ulimit"})


def hint_of(word: str, directory: str | None = None) -> str:
    """Return a way out, to be added to an error; empty where there is none to tell.

    Args:
        word: A program, a file or a directory that was not found.
        directory: Where the VM would run, for a program that was looked for on the PATH.
    """
    if word.startswith("~"):
        return "; ~ is not expanded: os.path.expanduser does it"
    if "$" in word:
        return "; nothing is interpolated: os.path.expandvars does it"
    if directory is None:
        return ""
    if _SETTING.match(word):
        return "; env= sets variables"
    if word in _BUILT_IN:
        return "; only a shell knows it: ['sh', '-c', text]"
    if any(map(str.isspace, word)):
        return "; a sequence's first word is the program alone"
    if os.path.isfile(os.path.join(directory, word)):  # noqa: PTH113, PTH118 - text in
        return f"; there is a file of that name in {directory[:200]!r}: say './{word}'"
    return ""
