"""notify probes: the receiving end of sd_notify(3), one datagram socket for each start."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable

from .._holds import Reactor

__all__ = ["NotifySocket"]

_CREDENTIALS = struct.Struct("3i")


class NotifySocket:
    """An abstract socket; READY=1 of a process that ``owns`` accepts is told once.

    Abstract names leave no file behind (unix(7)).
    """

    def __init__(
        self, reactor: Reactor, ready: Callable[[], None], owns: Callable[[int], bool]
    ) -> None:
        self._reactor, self._ready, self._owns = reactor, ready, owns
        self.is_ready = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        name = f"procvm-{os.urandom(12).hex()}"
        self._socket.bind(f"\0{name}")
        self.address = f"@{name}"
        reactor.register(self._socket.fileno(), self._read)

    def _read(self) -> None:
        while True:
            try:
                data, more, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
            except (BlockingIOError, OSError):
                return
            if self.is_ready or b"READY=1" not in data.split(b"\n") or not self._is_ours(more):
                continue
            self.is_ready = True
            self._ready()

    def _is_ours(self, more: list[tuple[int, int, bytes]]) -> bool:
        for level, kind, content in more:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                return self._owns(_CREDENTIALS.unpack(content[: _CREDENTIALS.size])[0])
        return False

    def close(self) -> None:
        """Hear nothing more."""
        if self._socket.fileno() >= 0:
            self._reactor.unregister(self._socket.fileno())
            self._socket.close()
