"""notify probes: the receiving end of sd_notify(3), one datagram socket for each start."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable

from ...base import Timer
from .._holds import Reactor
from ._words import one_line

__all__ = ["NotifySocket"]

_CREDENTIALS = struct.Struct("3i")
_LONGEST = 4096  # as systemd's: what is longer is no message
_MOST_AT_ONCE = 64
_QUIET = 0.1  # seconds between two words of a program that talks without end


class NotifySocket:
    """An abstract socket: READY=1, STATUS= and STOPPING=1 of the VM's own tree.

    Abstract names leave no file behind (unix(7)). Descriptors that come with a message
    (FDSTORE=1, BARRIER=1) find no room and are closed by the kernel, so a sender that waits at
    a barrier goes on.
    """

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self.is_ready = False
        self._accepts: Callable[[int, int], bool]
        self._ready: Callable[[], None]
        self._said: Callable[[str], None]
        self._is_open = self._is_stopping = False
        self._told = self._waiting = ""
        self._quiet: Timer | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            name = f"procvm-{os.urandom(12).hex()}"
            self._socket.bind(f"\0{name}")
        except BaseException:
            self._socket.close()
            raise
        self.address = f"@{name}"

    def open(
        self, accepts: Callable[[int, int], bool], ready: Callable[[], None],
        said: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Loop: begin to read; what came before waits in the socket.

        Args:
            accepts: Tells whether a sender (pid, uid, as the kernel says) is heard.
            ready: Called once, at the first READY=1.
            said: Gets each STATUS=, in one line, and that the program says STOPPING=1.
        """
        self._accepts, self._ready, self._said = accepts, ready, said
        self._reactor.register(self._socket.fileno(), self._read)
        self._is_open = True

    def _read(self) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                data, more, flags, _ = self._socket.recvmsg(
                    _LONGEST, socket.CMSG_SPACE(_CREDENTIALS.size)
                )
            except OSError:
                return  # nothing more
            if not flags & socket.MSG_TRUNC and self._is_heard(more):
                self._hear(data.split(b"\n"))
            if not self._is_open:
                return

    def _is_heard(self, more: list[tuple[int, int, bytes]]) -> bool:
        for level, kind, content in more:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                pid, uid, _ = _CREDENTIALS.unpack(content[: _CREDENTIALS.size])
                return pid > 0 and self._accepts(pid, uid)
        return False

    def _hear(self, lines: list[bytes]) -> None:
        if b"READY=1" in lines and not self.is_ready:
            self.is_ready = True
            self._ready()
        for line in lines:
            name, _, value = line.partition(b"=")
            if name == b"STATUS":
                self._say(one_line(value.decode("utf-8", "replace")))
        if b"STOPPING=1" in lines and not self._is_stopping:
            self._is_stopping = True
            self._say("it says that it is stopping")

    def _say(self, words: str) -> None:
        """Tell it; of many in a short time the first and the last."""
        self._waiting = words
        if self._quiet is None:
            self._tell()

    def _tell(self) -> None:
        self._quiet = None
        words, self._waiting = self._waiting, ""
        if words and words != self._told and self._is_open:
            self._told = words
            self._quiet = self._reactor.call_later(_QUIET, self._tell)
            self._said(words)

    def close(self) -> None:
        """Loop: hear nothing more."""
        if self._is_open:
            self._is_open = False
            self._reactor.unregister(self._socket.fileno())
        if self._quiet is not None:
            self._quiet.cancel()
        self._socket.close()

    def forget(self) -> None:
        """In a forked child: close its copy, and leave the parent's loop alone."""
        self._is_open = False
        self._socket.close()
