"""A VM's output appended to a file that is rotated; trouble with it never stops the draining."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable

from ..base import Plan

__all__ = ["LogFile"]

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOOK_EVERY = 0.1  # seconds: a look for each line would cost a flood its speed


class LogFile:
    """Appends; ``warn`` is told once when that fails, and once when the file was deleted.

    It is written beside the loop, which a hung disk must not stop, by one thread at a time.
    One that was renamed, deleted or replaced meanwhile (by logrotate(8), say) is made anew.
    """

    def __init__(self, plan: Plan, warn: Callable[[str], None]) -> None:
        policy = plan.config.log
        self._path = os.path.join(plan.base, policy.file or "")  # noqa: PTH118 - text in, text out
        self._rotate, self._backups = policy.rotate, policy.backups
        self._warn = warn
        self._has_warned = self._is_gone = self._has_told_gone = False
        self._looked = 0.0
        self._fd: int | None = None
        self._size = 0
        self._is_in_a_line = self._is_over = False
        self._pending: deque[bytes] = deque()
        self._turns = threading.Lock()

    def put(self, data: bytes) -> None:
        """Loop: have ``data`` written by the next flush."""
        self._pending.append(data)

    def flush(self) -> None:
        """Write what was put, in its order."""
        with self._turns:
            while self._pending and not self._is_over:
                self._write(self._pending.popleft())

    def _write(self, data: bytes) -> None:
        """Append ``data``, after a rotation where one is due."""
        try:
            if self._fd is not None and (self._is_full(data) or self._is_long_ago()):
                self._look()
            if self._fd is None:
                self._open()
            if self._size and self._is_full(data):
                begun = data.find(b"\n") + 1 if self._is_in_a_line else 0
                self._append(data[:begun])  # a line is in one file
                data = data[begun:]
                if data:
                    self._turn()
            self._append(data)
            self._has_warned = False
            if self._is_gone:
                self._is_gone, self._has_told_gone = False, True
                self._warn(f"the log {self._path!r} was deleted meanwhile; it is made anew")
        except OSError as e:
            self._close()
            if not self._has_warned:
                self._has_warned = True
                self._warn(f"the log {self._path!r} cannot be written: {e.strerror}")

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self._fd is not None:
            written = os.write(self._fd, view)
            self._size += written
            self._is_in_a_line = bytes(view[written - 1 : written]) != b"\n"
            view = view[written:]

    def _is_full(self, data: bytes) -> bool:
        return self._rotate > 0 and self._size + len(data) > self._rotate

    def _is_long_ago(self) -> bool:
        now = time.monotonic()
        is_long = now - self._looked >= _LOOK_EVERY
        if is_long:
            self._looked = now
        return is_long

    def _look(self) -> None:
        """Close the open file when it is not the one at its path any more."""
        assert self._fd is not None  # noqa: S101 - asked of an open one
        mine = os.fstat(self._fd)
        try:
            found = os.lstat(self._path)
        except FileNotFoundError:
            found = None
        if found is not None and os.path.samestat(found, mine):
            self._size = found.st_size  # somebody may have cut it: O_APPEND goes on at its end
            return
        self._close()
        if mine.st_nlink == 0 and not self._has_told_gone:  # else it has another name now
            self._is_gone = True

    def _open(self) -> None:
        fd = os.open(self._path, _FLAGS, 0o600)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise OSError(0, "it is no regular file")
        self._fd, self._size = fd, found.st_size

    def _turn(self) -> None:
        self._close()
        if self._backups == 0:
            os.truncate(self._path, 0)
        else:
            last = 1
            while last < self._backups and os.path.lexists(f"{self._path}.{last}"):
                last += 1
            for number in range(last - 1, 0, -1):
                os.replace(f"{self._path}.{number}", f"{self._path}.{number + 1}")  # noqa: PTH105 - text
            os.replace(self._path, f"{self._path}.1")  # noqa: PTH105 - text
        self._open()

    def close(self) -> None:
        """Write what was put, and no more; this may block as well."""
        self.flush()
        with self._turns:
            self._is_over = True
            self._close()

    def forget(self) -> None:
        """In a forked child: close its copy, whoever was writing at the fork."""
        self._close()

    def _close(self) -> None:
        """Close the file; the next write opens it again."""
        fd, self._fd = self._fd, None  # first: at a fork the copy must not be closed twice
        if fd is not None:
            os.close(fd)
