"""A VM's output appended to a file that is rotated; trouble with it never stops the draining."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from ..base import Plan

__all__ = ["LogFile"]

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LogFile:
    """Appends; ``warn`` is told once when that fails."""

    def __init__(self, plan: Plan, warn: Callable[[str], None]) -> None:
        policy = plan.config.log
        self._path = os.path.join(plan.base, policy.file or "")  # noqa: PTH118 - text in, text out
        self._rotate, self._backups = policy.rotate, policy.backups
        self._warn = warn
        self._has_warned = False
        self._fd: int | None = None
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append ``data``, after a rotation where one is due."""
        try:
            if self._fd is None:
                self._open()
            if self._rotate and self._size and self._size + len(data) > self._rotate:
                self._turn()
            view = memoryview(data)
            while view and self._fd is not None:
                written = os.write(self._fd, view)
                self._size += written
                view = view[written:]
            self._has_warned = False
        except OSError as e:
            self.close()
            if not self._has_warned:
                self._has_warned = True
                self._warn(f"the log {self._path!r} cannot be written: {e.strerror}")

    def _open(self) -> None:
        fd = os.open(self._path, _FLAGS, 0o600)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise OSError(0, "it is no regular file")
        self._fd, self._size = fd, found.st_size

    def _turn(self) -> None:
        self.close()
        if self._backups == 0:
            os.truncate(self._path, 0)
        else:
            for number in range(self._backups - 1, 0, -1):
                older = f"{self._path}.{number}"
                if os.path.lexists(older):
                    os.replace(older, f"{self._path}.{number + 1}")  # noqa: PTH105 - text
            os.replace(self._path, f"{self._path}.1")  # noqa: PTH105 - text
        self._open()

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
