"""Which of many files are there, asked in one call: the interpreter lock is given away once.

A name in the tenth directory of the PATH is ten calls of Python's, and after each of them a
thread that computes may keep the lock for a switch interval.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Sequence

__all__ = ["Reaches", "existing"]

_BRACE, _NOSORT, _NOESCAPE = 1 << 10, 1 << 2, 1 << 6  # glob.h of glibc
_SPECIAL = frozenset(b"{},*?[]\\~\0")
_MOST_REACHES = 1000


class Reaches:
    """How far along the PATH each name was found: so many files are asked about at once.

    Not where it is: all of them are looked at each time. And no more, as a search ends at what
    it finds, and a directory behind that may be on a disk that hangs.
    """

    def __init__(self) -> None:
        self._reaches: dict[tuple[str, ...], int] = {}

    def worth_a_look(self, files: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``files`` without those that are known not to be there."""
        reach = self._reaches.get(files, 0)
        return (*existing(files[:reach]), *files[reach:])

    def found(self, file: str, files: tuple[str, ...]) -> None:
        """Remember that ``file`` is the first of ``files`` that is there."""
        if file in files:
            if len(self._reaches) >= _MOST_REACHES:
                self._reaches.clear()
            self._reaches[files] = files.index(file) + 1


def existing(files: tuple[str, ...]) -> Sequence[str]:
    """Return, in their order, at least those of ``files`` that are there; all, if not known."""
    pattern = _pattern(files)
    return (_glob(pattern) if pattern else ()) or files


@functools.lru_cache(maxsize=128)
def _pattern(files: tuple[str, ...]) -> bytes:
    """Return what glob is asked; nothing where that cannot say it, or has nothing to gain."""
    if len(files) < 2:  # noqa: PLR2004 - one is looked at as quickly by itself
        return b""
    try:
        names = [os.fsencode(file) for file in files]
    except UnicodeError:  # no file can be called so, as the look at it tells
        return b""
    # Looked at as bytes, as glob does: in some locales a letter's second byte is a bracket.
    is_plain = _SPECIAL.isdisjoint(b"".join(names))
    return b"{" + b",".join(names) + b"}" if is_plain else b""


def _by_libc() -> Callable[[bytes], list[str]]:
    import ctypes  # noqa: PLC0415 - may be missing

    class Found(ctypes.Structure):
        """glob_t, and room beyond it."""

        _fields_ = (
            ("count", ctypes.c_size_t), ("paths", ctypes.POINTER(ctypes.c_char_p)),
            ("rest", ctypes.c_byte * 112),
        )  # fmt: skip

    libc = ctypes.CDLL(None)  # which gives the lock away: a disk may be slow
    if not hasattr(libc, "gnu_get_libc_version"):
        raise OSError("another C library, of which glob_t may be another")
    glob, free = libc.glob, ctypes.PyDLL(None).globfree
    glob.argtypes = (ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    glob.restype = ctypes.c_int
    free.argtypes, free.restype = (ctypes.c_void_p,), None

    def ask(pattern: bytes) -> list[str]:
        found = Found()
        try:
            if glob(pattern, _BRACE | _NOSORT | _NOESCAPE, None, ctypes.byref(found)):
                return []
            return [os.fsdecode(path or b"") for path in found.paths[: found.count]]
        finally:
            free(ctypes.byref(found))

    return ask


def _make() -> Callable[[bytes], list[str]]:
    with contextlib.suppress(Exception):  # what forbids it: an audit hook, another libc
        return _by_libc()
    return lambda _: []


_glob = _make()
