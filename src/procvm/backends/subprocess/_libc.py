"""The calls of ``_calls``, made by ctypes without giving the interpreter lock away."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import struct
from collections.abc import Callable
from typing import Any

from ._calls import FDS_IN_ONE, Mailbox

__all__ = ["LibcCalls"]

_ADD, _DEL = 1, 2  # epoll_ctl(2)
# struct epoll_event is packed on x86-64; its data, a union of 8 bytes, begins with our fd.
_IS_PACKED = os.uname().machine == "x86_64" or struct.calcsize("@IQ") == struct.calcsize("=IQ")
_EVENT = struct.Struct("=Ii4x" if _IS_PACKED else "=I4xi4x")
_MOST_EVENTS = 64
_CMSG = struct.Struct("@Nii")  # struct cmsghdr: its length, level and type
_SEND = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_RECEIVE = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
_SIZE, _POINTER, _INT = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int

_libc = ctypes.PyDLL(None, use_errno=True)  # PyDLL: the lock is kept


def _or_raise(result: int, _: object, __: object) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _call(name: str, *kinds: Any) -> Callable[..., int]:
    call = getattr(_libc, name)
    call.argtypes, call.restype, call.errcheck = kinds, ctypes.c_ssize_t, _or_raise
    made: Callable[..., int] = call
    return made


def _int_call(name: str, *kinds: Any) -> Callable[..., int]:
    call = _call(name, *kinds)
    call.restype = _INT  # type: ignore[attr-defined] # a function of ctypes
    return call


_write = _call("write", _INT, ctypes.c_char_p, _SIZE)
_read = _call("read", _INT, _POINTER, _SIZE)
_send = _call("send", _INT, ctypes.c_char_p, _SIZE, _INT)
_recvmsg = _call("recvmsg", _INT, _POINTER, _INT)
_close = _int_call("close", _INT)
_epoll_ctl = _int_call("epoll_ctl", _INT, _INT, _INT, ctypes.c_char_p)
_epoll_wait = _int_call("epoll_wait", _INT, _POINTER, _INT, _INT)
_ONE = struct.pack("=Q", 1)
_HUSHED = ctypes.create_string_buffer(1)


class _Poll(ctypes.Structure):
    """struct pollfd, poll(2)."""

    _fields_ = (("fd", _INT), ("events", ctypes.c_short), ("revents", ctypes.c_short))


_poll = _int_call("poll", ctypes.POINTER(_Poll), ctypes.c_ulong, _INT)


class _Vector(ctypes.Structure):
    _fields_ = (("base", _POINTER), ("size", _SIZE))


class _Header(ctypes.Structure):
    """struct msghdr, recvmsg(2); musl's differs in padding alone."""

    _fields_ = (
        ("name", _POINTER), ("name_size", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)), ("vector_count", _SIZE),
        ("control", _POINTER), ("control_size", _SIZE), ("flags", _INT),
    )  # fmt: skip


class _Mailbox:
    def __init__(self, size: int) -> None:
        self._buffer = ctypes.create_string_buffer(size)
        self._control = ctypes.create_string_buffer(socket.CMSG_SPACE(4 * FDS_IN_ONE))
        self._vector = _Vector(ctypes.addressof(self._buffer), size)
        control = ctypes.addressof(self._control)
        self._header = _Header(None, 0, ctypes.pointer(self._vector), 1, control)
        self._at = ctypes.addressof(self._header)
        self._view = memoryview(self._buffer).cast("B")

    def receive(self, sock: socket.socket) -> tuple[memoryview, list[int], int]:
        header = self._header
        header.control_size = len(self._control)
        size = _recvmsg(sock.fileno(), self._at, _RECEIVE)
        fds = self._fds(header.control_size) if header.control_size else []
        return self._view[:size], fds, header.flags

    def _fds(self, filled: int) -> list[int]:
        fds: list[int] = []
        at = 0
        while at + _CMSG.size <= filled:
            length, level, kind = _CMSG.unpack_from(self._control, at)
            if length < _CMSG.size:
                break
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                count = (length - socket.CMSG_LEN(0)) // 4
                fds += struct.unpack_from(f"={count}i", self._control, at + socket.CMSG_LEN(0))
            at += socket.CMSG_SPACE(length - socket.CMSG_LEN(0))
        return fds


class _Glance:
    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._events = ctypes.create_string_buffer(_EVENT.size * _MOST_EVENTS)
        self._at = ctypes.addressof(self._events)

    def __call__(self) -> list[int]:
        try:
            count = _epoll_wait(self._epoll.fileno(), self._at, _MOST_EVENTS, 0)
        except InterruptedError:
            return []
        size = _EVENT.size
        return [_EVENT.unpack_from(self._events, size * i)[1] for i in range(count)]


class LibcCalls:
    """See Calls; OSError: this system is not what it says it is."""

    def __init__(self) -> None:
        event = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            with select.epoll() as epoll:  # a process may have been told another machine
                self.watch(epoll, event)
                if epoll.poll(0) != [(event, select.EPOLLIN)] or _Glance(epoll)() != [event]:
                    raise OSError("struct epoll_event is another here")
        finally:
            os.close(event)

    def close(self, fd: int) -> None:
        _close(fd)

    def wake(self, event: int) -> None:
        _write(event, _ONE, len(_ONE))

    def ring(self, fd: int) -> None:
        _write(fd, b"!", 1)

    def hush(self, fd: int) -> None:
        _read(fd, _HUSHED, 1)

    def watch(self, epoll: select.epoll, fd: int) -> None:
        _epoll_ctl(epoll.fileno(), _ADD, fd, _EVENT.pack(select.EPOLLIN, fd))

    def unwatch(self, epoll: select.epoll, fd: int) -> None:
        _epoll_ctl(epoll.fileno(), _DEL, fd, _EVENT.pack(0, fd))

    def send(self, sock: socket.socket, data: bytes) -> None:
        _send(sock.fileno(), data, len(data), _SEND)

    def hint(self, sock: socket.socket, data: bytes) -> None:
        with contextlib.suppress(OSError):  # it takes no more, or nobody is there any more
            _send(sock.fileno(), data, len(data), _SEND)

    def mailbox(self, size: int) -> Mailbox:
        return _Mailbox(size)

    def look(self, fd: int) -> int:
        one = _Poll(fd, select.POLLIN)
        return one.revents if _poll(one, 1, 0) else 0

    def glance(self, epoll: select.epoll) -> Callable[[], list[int]]:
        return _Glance(epoll)
