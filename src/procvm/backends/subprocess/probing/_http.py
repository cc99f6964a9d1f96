"""One GET within a time that holds for the whole of it, however slowly the answer drips."""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any
from urllib.parse import urlsplit

__all__ = ["status_of"]


class _Deadline(io.RawIOBase):
    """Reads a socket until a moment; a socket's own timeout begins anew with every byte."""

    def __init__(self, sock: socket.socket, end: float) -> None:
        self._sock, self._end = sock, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not complete in time")
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)


class _Response(http.client.HTTPResponse):
    """An answer that is read until the moment ``end``."""

    end: float

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Deadline(sock, self.end))


def status_of(url: str, seconds: float) -> tuple[str, int]:
    """GET ``url`` once, following nothing; return what was asked for and the status.

    Raises:
        OSError: No connection, or no whole answer within ``seconds``.
        http.client.HTTPException: The answer is none.
    """
    end = time.monotonic() + seconds
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    connection.response_class = type("Response", (_Response,), {"end": end})
    try:
        connection.request("GET", target, headers={"Connection": "close"})
        return target, connection.getresponse().status
    finally:
        connection.close()
