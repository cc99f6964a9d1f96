"""The keeper's one loop: requests of the host, ends of children, and the end of the host."""

from __future__ import annotations

import _signal
import _socket
import errno
import marshal
import posix
import select
import sys
import time
from typing import Any

from . import _words as words
from ._kernel import UmaskOf, ancestry_is_ours, is_ending, own_children_file_works
from ._spawning import Order, Setup, SpawnError, ignored_signals, spawn
from ._tags import Tags
from ._trees import Tree, Trees

__all__ = ["run"]

_PATIENCE_AT_THE_END = 5.0
_MOST_FACTS, _MOST_PIPES = 64, 100
_RETRY = 0.002
_NOBODY = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN})


class Keeper:
    """Owns the socket, the trees and what is still to be told."""

    def __init__(self, fd: int, host: int) -> None:
        self.host = host
        self.umask = UmaskOf(host)
        self.socket = _socket.socket(fileno=fd)
        self.socket.setblocking(False)
        self.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        self.buffer = bytearray(4 * words.LONGEST)
        self.tags = Tags()
        self.ignored = ignored_signals()  # of its own making too, by now
        self.trees = Trees(self.tell, self.tags.mask if self.tags.works else None)
        self.told: list[tuple[Any, tuple[int, ...]]] = []
        self.base: dict[bytes, bytes] = {}
        self.is_over = self.is_greeted = False

    def tell(self, fact: Any, pipes: tuple[int, ...] = ()) -> None:
        """Queue a fact for the host, with the pipes that go with it."""
        self.told.append((fact, pipes))

    def flush(self) -> None:
        """Send what is queued, as far as the host takes it; it may be stopped."""
        while self.told:
            facts: list[Any] = []
            pipes: list[int] = []
            for fact, more in self.told[:_MOST_FACTS]:
                if len(pipes) + len(more) > _MOST_PIPES:
                    break
                facts.append(fact)
                pipes += more
            rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _packed(pipes))] if pipes else []
            try:
                self.socket.sendmsg([marshal.dumps(tuple(facts))], rights)
            except BlockingIOError:
                return
            except OSError as e:
                self.is_over = e.errno in _NOBODY
                if not self.is_over:  # too many descriptors are on their way, say (unix(7))
                    time.sleep(_RETRY)
                return
            del self.told[: len(facts)]
            for pipe in pipes:
                posix.close(pipe)

    def listen(self) -> None:
        """Read every request there is."""
        while not self.is_over:
            try:
                size, more, _, _ = self.socket.recvmsg_into([self.buffer], 256)
            except BlockingIOError:
                return
            except OSError:
                size, more = 0, []
            if size == 0:
                self.is_over = True
                return
            data, sender = self.buffer[:size], 0
            for level, kind, content in more:
                if level == _socket.SOL_SOCKET and kind == _socket.SCM_CREDENTIALS:
                    sender = int.from_bytes(content[:4], sys.byteorder)
                elif level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                    data = bytearray(_all_of(int.from_bytes(content[:4], sys.byteorder)))
            if sender == self.host:  # a fork of the host, made in C, has the socket too
                self.obey(marshal.loads(data))  # noqa: S302 - the host's own

    def obey(self, request: Any) -> None:
        """Do what one request says."""
        kind = request[0]
        if kind == words.HELLO:
            self.is_greeted = request[1] == words.VERSION
            self.is_over = not self.is_greeted
        elif kind == words.BASE:
            self.base = request[1]
        elif kind == words.SPAWN and self.is_greeted:
            self.spawn(*request[1:])
        elif kind in (words.STOP, words.SIGNAL):
            tree = self.trees.numbers.get(request[1])
            if tree is not None:
                act = self.trees.stop if kind == words.STOP else self.trees.signal
                act(tree, *request[2:])
        elif kind == words.BIG:  # no descriptor was left to take it with (unix(7))
            self.tell((words.FAILED, request[1], errno.EMFILE, "spawn"))
        elif kind == words.PING:
            self.tell((words.PONG,))
        elif kind == words.QUIT:
            self.is_over = True

    def spawn(
        self, number: int, mark: bytes, file: bytes, argv: tuple[bytes, ...], directory: bytes,
        uses_base: bool, delta: dict[bytes, bytes], stop: tuple[int, float, str],  # noqa: FBT001 - off the wire
        setup: tuple[Any, ...] | None,
    ) -> None:  # fmt: skip
        """Start one program and tell how that went."""
        tag = self.tags.new(self.trees.tags)
        environment = {**self.base, **delta} if uses_base else delta
        order = Order(file, argv, directory, environment, Setup(*setup) if setup else None)
        umask = self.umask.now()
        if umask is not None:
            posix.umask(umask)  # as the host has it now; the keeper makes no files
        try:
            pid, stdout, stderr = spawn(order, tag, self.tags, self.ignored)
        except SpawnError as e:
            self.tell((words.FAILED, number, *e.args))
            return
        self.trees.add(Tree(number, tag, mark, stop), pid)
        self.tell((words.STARTED, number, pid, tag), (stdout, stderr))

    def end(self) -> None:
        """Kill everything, and go when nothing is left, or nothing helps."""
        self.trees.end()
        deadline = time.monotonic() + _PATIENCE_AT_THE_END
        pause = 0.0005
        while time.monotonic() < deadline:
            self.trees.reap()
            self.trees.settle()
            if self.trees.kill_the_unknown():
                return
            time.sleep(pause)
            pause = min(2 * pause, 0.05)


def _packed(pipes: list[int]) -> bytes:
    return b"".join(pipe.to_bytes(4, sys.byteorder) for pipe in pipes)


def _all_of(fd: int) -> bytes:
    size = posix.fstat(fd).st_size
    data = b""
    while len(data) < size:
        data += posix.pread(fd, size, len(data))
    posix.close(fd)
    return data


def _listen_to_signals(ended: list[int], loop: int, host: int) -> int:
    """Note who asks it to go, and return the descriptor that a child's end makes readable."""

    def look(*_: object) -> None:
        if is_ending(host, loop):  # else somebody has continued the keeper
            ended.append(1)

    for number in (_signal.SIGINT, _signal.SIGQUIT, _signal.SIGPIPE, _signal.SIGTSTP):
        _signal.signal(number, _signal.SIG_IGN)
    wake, woken = posix.pipe()
    posix.set_blocking(wake, False)
    posix.set_blocking(woken, False)
    _signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    _signal.signal(_signal.SIGCHLD, lambda *_: None)
    for number in (_signal.SIGTERM, _signal.SIGHUP):
        _signal.signal(number, lambda *_: ended.append(1))
    _signal.signal(_signal.SIGCONT, look)
    return wake


def _greet(keeper: Keeper, *, has_handle: bool) -> None:
    tags = keeper.tags
    facts = {
        "subreaper": ancestry_is_ours(), "tag": tags.works, "pidfd": has_handle,
        "children": own_children_file_works(), "base": tags.base, "outermost": tags.is_outermost,
    }  # fmt: skip
    keeper.tell((words.HELLO, words.VERSION, facts))
    keeper.flush()


def run(fd: int, loop: int, host: int) -> None:
    """Be the keeper of ``host``, whose thread ``loop`` asks it, until it is gone or needs none."""
    posix.set_inheritable(fd, False)
    ended: list[int] = []
    wake = _listen_to_signals(ended, loop, host)
    keeper = Keeper(fd, host)
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(fd, select.POLLIN)
    handle = -1
    try:
        handle = posix.pidfd_open(host, 0)
        poll.register(handle, select.POLLIN)
    except OSError:
        pass  # it is dead already: then its parent is another; or there are no pidfds
    keeper.is_over = posix.getppid() != host
    _greet(keeper, has_handle=handle >= 0)
    was_full = False
    while not (keeper.is_over or ended):
        seconds = keeper.trees.patience()
        patience = None if seconds is None else seconds * 1000
        keeper.flush()  # then to sleep at once: the host wants this processor
        if was_full or keeper.told:
            was_full = bool(keeper.told)
            poll.modify(fd, select.POLLIN | (select.POLLOUT if was_full else 0))
        ready = [one for one, _ in poll.poll(patience)]
        if wake in ready:
            posix.read(wake, 65536)
        keeper.trees.reap()
        if handle in ready:
            break
        if fd in ready:
            keeper.listen()
        keeper.trees.settle()
    keeper.flush()
    keeper.end()
    posix._exit(0)  # noqa: SLF001 - at once, whatever threads or hooks there are
