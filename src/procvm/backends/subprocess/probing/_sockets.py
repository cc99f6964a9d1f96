"""Whose a socket is: by inode, from sock_diag(7) and /proc. Where they are not, nobody's."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

from .._members import is_ending

__all__ = ["holders_of", "is_at_work", "listening", "network_of", "sockets_of"]

_SOCK_DIAG, _BY_FAMILY, _DUMP, _DONE, _ERROR = 4, 20, 0x301, 3, 2  # of the kernel's netlink.h
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_ASKED = struct.Struct("=BBBxI2s46x")  # inet_diag_req_v2
_TOLD = struct.Struct("=68xI")  # inet_diag_msg: of it the inode
_ESTABLISHED, _LISTEN = 1 << 1, 1 << 10  # enum of the kernel's tcp_states.h
_STREAM, _CONNECTED = b"0001", b"03"  # SOCK_STREAM, SS_CONNECTED
_ACCEPTS = 0x10000  # __SO_ACCEPTCON


def listening(place: int | str | None) -> frozenset[int]:
    """Return the sockets that listen at a TCP port, or at a path in the words of who bound it."""
    try:
        if isinstance(place, int):
            return frozenset(_tcp(_LISTEN, place))
        if place is not None and os.path.exists(place):  # noqa: PTH110 - text in
            return frozenset(_at_path(os.fsencode(place)))
    except (OSError, ValueError, IndexError, struct.error):
        pass  # not to be had here, or no descriptor to look with
    return frozenset()


def _tcp(states: int, port: int = 0) -> Iterator[int]:
    """Yield the TCP sockets in some states, at one port or all.

    /proc/net/tcp would tell the same, but walks through all that the table of connections could
    hold: some milliseconds, also when it is empty.
    """
    if not hasattr(socket, "AF_NETLINK"):
        return
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        for family in (socket.AF_INET, socket.AF_INET6):
            asked = _ASKED.pack(family, socket.IPPROTO_TCP, 0, states, struct.pack("!H", port))
            kernel.send(_HEADER.pack(_HEADER.size + len(asked), _BY_FAMILY, _DUMP, 0, 0) + asked)
            is_done = False
            while not is_done:
                data = kernel.recv(2**16, socket.MSG_DONTWAIT)  # a dump is made as it is read
                while data and not is_done:
                    size, kind, *_ = _HEADER.unpack_from(data)
                    is_done = kind in (_DONE, _ERROR)
                    if not is_done:
                        yield _TOLD.unpack_from(data, _HEADER.size)[-1]
                    data = data[(size + 3) & ~3 :]


def _at_path(path: bytes) -> Iterator[int]:
    for words in _unix():
        if int(words[3], 16) & _ACCEPTS and words[7:] == [path]:
            yield int(words[6])


def _unix() -> Iterator[list[bytes]]:
    """Yield the words of each line of /proc/net/unix; the eighth is the path, if any."""
    with open("/proc/net/unix", "rb") as lines:  # noqa: PTH123 - a hot path; proc_pid_net(5)
        next(lines, b"")
        for line in lines:
            yield line.rstrip(b"\n").split(None, 7)


def is_at_work(sockets: set[int]) -> bool:
    """Tell whether one of these listens, or is connected to somebody who may serve in its place.

    The two ends of a socketpair(2), as every asyncio loop has, are connected to nobody else;
    they are made one after the other, and so are their numbers.
    """
    if sockets.intersection(_tcp(_LISTEN | _ESTABLISHED)):
        return True
    for words in _unix():
        inode = int(words[6])
        if inode in sockets and int(words[3], 16) & _ACCEPTS:
            return True
        is_stream = words[4] == _STREAM and words[5] == _CONNECTED
        if inode in sockets and is_stream and not {inode - 1, inode + 1} & sockets:
            return True
    return False


def network_of(pid: int) -> str:
    """Return the network namespace of a process; "" when it is gone, collected or not.

    Raises:
        OSError: It may not be looked at.
    """
    try:
        return os.readlink(f"/proc/{pid}/ns/net")  # noqa: PTH115 - text
    except (FileNotFoundError, ProcessLookupError):
        return ""


def sockets_of(pid: int) -> set[int]:
    """Return the sockets of a process; none when it is gone.

    Raises:
        OSError: It may not be looked at.
    """
    folder = f"/proc/{pid}/fd"
    found = set()
    try:
        names = os.listdir(folder)  # noqa: PTH208 - text
    except (FileNotFoundError, ProcessLookupError):
        return set()
    except PermissionError:
        if not is_ending(pid):
            raise
        return set()  # or will in a moment: what it is about to close serves nobody
    for name in names:
        try:
            kind, _, inode = os.readlink(f"{folder}/{name}").partition(":[")  # noqa: PTH115 - text
        except (FileNotFoundError, ProcessLookupError):
            continue
        if kind == "socket":
            found.add(int(inode[:-1]))
    return found


def holders_of(sockets: frozenset[int]) -> set[int]:
    """Return the processes that hold one of ``sockets``, as far as they may be looked at."""
    found = set()
    for name in os.listdir("/proc"):  # noqa: PTH208 - text
        if name.isdigit():
            try:
                held = sockets_of(int(name))
            except PermissionError:
                continue
            if held & sockets:
                found.add(int(name))
    return found
