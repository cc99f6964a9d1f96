"""The host's end of the keeper: its start, what is said, and what is done when it falls silent."""

from __future__ import annotations

import errno
import importlib.util
import logging
import marshal
import os
import signal as signals
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from ._calls import CALLS
from ._facts import decoded
from ._holds import Reactor
from ._members import start_of
from ._setup import host_facts
from .keeper import _words as words

__all__ = ["KEEPER", "Keeper", "has_ended", "tree_is_possible"]

KEEPER = "procvm-keeper"  # what it is called in a list of processes

_MODULES = ("_words", "_kernel", "_tags", "_trees", "_spawning", "_program")
_BOOT = """
import marshal, posix, sys
kind, code = type(sys), b""
while more := posix.read(0, 1 << 20): code += more
posix.chdir("/")
for fd in (0, 1, 2): posix.dup2(posix.open("/dev/null", posix.O_RDWR), fd)
top = sys.modules["keeper"] = kind("keeper")
top.__path__ = []
for name, body in marshal.loads(code):
    module = sys.modules["keeper." + name] = kind("keeper." + name)
    module.__package__ = "keeper"
    setattr(top, name, module)
    exec(body, module.__dict__)
sys.modules["keeper._program"].run(*map(int, sys.argv[1:]))
"""
_log = logging.getLogger("procvm")
_HOME = str(Path(sys.executable).resolve().parent) if sys.executable else "/"
_SOON = marshal.dumps((words.SOON,))
_RETRY = 0.002
_LATER = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS})
_NOBODY = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF})
_TICK, _MOST_SILENT_TICKS = 0.25, 20  # 5 s in which the host itself ran
_TICKS_TO_GREET = 40  # an interpreter is to be loaded
_LATE = 0.5  # a tick that comes so late says that the host did not run
_OWN_BITS = 30  # below them a tag tells trees and inner keepers apart, above them keepers
_ended_tags: set[int] = set()


def tree_is_possible() -> bool:
    """Tell whether this system has what the keeper needs before it can be asked."""
    has_calls = hasattr(os, "pidfd_open") and hasattr(os, "memfd_create")
    return sys.platform == "linux" and has_calls and bool(sys.executable)


def has_ended(tag: int | None = None) -> bool:
    """Tell whether the keeper that gave this tag was this process's, and has ended; None: any."""
    return bool(_ended_tags) if tag is None else tag >> _OWN_BITS in _ended_tags


def _code() -> bytes:
    parts: list[tuple[str, CodeType]] = []
    for name in _MODULES:
        full = f"{__package__}.keeper.{name}"
        spec = importlib.util.find_spec(full)
        assert spec is not None  # noqa: S101 - part of this package
        loader: Any = spec.loader
        if not hasattr(loader, "get_code"):  # pytest's own loader, which rewrites plugins
            loader = SourceFileLoader(full, str(spec.origin))
        parts.append((name, loader.get_code(full)))
    return marshal.dumps(parts)


class Keeper:
    """One keeper process.

    Args:
        reactor: Whose loop this lives in.
        tell: Gets each fact, with the descriptors that came with it.
        lost: Called once, with the reason, when it has ended unasked.
    """

    def __init__(
        self, reactor: Reactor, tell: Callable[[Any, list[int]], None],
        lost: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._reactor, self._tell, self._lost = reactor, tell, lost
        self._waiting: deque[tuple[bytes, int | None]] = deque()
        self._mailbox = CALLS.mailbox(256 * 1024)
        self._base: dict[str, str] = {}
        self.facts: dict[str, Any] = {}
        self.began = host_facts()  # what it, and so its programs, inherit
        self.is_up = self._is_alert = False
        self._using = threading.Lock()  # the socket, in another thread than the loop
        self._is_over = False
        self._heard = True
        self._silent = 0
        self._is_ticking = self._is_retrying = False
        self._is_named = True
        self._start()

    def _start(self) -> None:
        """Start it, by its own name at first, so that ``killall python3`` takes the host alone.

        An interpreter without its path in argv[0] looks for its library from its directory on;
        where it finds none it is started once more, as what it is.
        """
        name = KEEPER if self._is_named else sys.executable
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        who = theirs.fileno(), threading.get_native_id(), os.getpid()
        program = -1
        try:
            program = os.memfd_create(KEEPER)
            _write_all(program, _code())
            os.lseek(program, 0, os.SEEK_SET)
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [name, "-I", "-S", "-c", _BOOT, *map(str, who)],
                executable=sys.executable, stdin=program, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, cwd=_HOME, pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )  # fmt: skip
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            if program >= 0:
                os.close(program)
        ours.setblocking(False)
        self._socket, self._silent = ours, 0
        try:
            self.started = start_of(self.process.pid) or 0
            self._reactor.register(ours.fileno(), self._listen)
        except OSError:
            self._end_process()
            raise
        self._expect_an_answer()

    # --- to the keeper ------------------------------------------------------------------

    def alert(self) -> None:
        """Wake it ahead of a start, once until something is said; any thread.

        A process is slow to wake where every processor sleeps, those of a virtual machine most.
        The start takes as long to get here, and finds it awake.
        """
        if self._is_alert or self._is_over or not self.is_up:
            return
        # The socket is not closed in the middle of this, and nobody waits for that: a signal's
        # handler, on top of it, may wait for the loop.
        if self._using.acquire(blocking=False):
            try:
                if not self._is_over:
                    self._is_alert = True
                    CALLS.hint(self._socket, _SOON)
            finally:
                self._using.release()
            if self._is_over:  # meanwhile, and so it was left to be closed here
                self._socket.close()  # type: ignore[unreachable] # by the loop

    def say(self, request: tuple[Any, ...]) -> None:
        """Send a request, or queue it until the keeper is up and takes it.

        Raises:
            OSError: It is too long for a message, and there is no room for it elsewhere.
        """
        self._is_alert = False
        data, fd = marshal.dumps(request), None
        if len(data) > words.LONGEST:
            fd = os.memfd_create("procvm-request")
            try:
                _write_all(fd, data)
            except OSError:
                os.close(fd)
                raise
            data = marshal.dumps((words.BIG, request[1]))
        self._waiting.append((data, fd))
        if self.is_up:
            self._flush()

    def delta(self, env: dict[str, str]) -> tuple[bool, dict[bytes, bytes]]:
        """Return what is to be laid over the base that the keeper knows; say that one first."""
        if not self._base:
            encoded = _encoded(env)
            if len(marshal.dumps((words.BASE, encoded))) > words.LONGEST:
                return False, encoded
            self.say((words.BASE, encoded))
            self._base = dict(env)
            return True, {}
        if self._base.keys() <= env.keys():
            base = self._base
            return True, _encoded({k: v for k, v in env.items() if base.get(k) != v})
        return False, _encoded(env)

    def _flush(self) -> None:
        if self._is_retrying or not self._waiting:
            return
        self._expect_an_answer()
        while self._waiting and not self._is_over:
            data, fd = self._waiting[0]
            try:
                if fd is None:
                    CALLS.send(self._socket, data)
                else:
                    socket.send_fds(self._socket, [data], [fd])
                    os.close(fd)
            except OSError as e:
                if e.errno in _LATER:
                    self._is_retrying = True
                    self._reactor.call_later(_RETRY, self._flush_again)
                elif e.errno not in _NOBODY:  # that is told by event
                    self._is_retrying, why = True, f"the keeper cannot be told anything: {e}"
                    self._reactor.post(partial(self._end, why))  # who asked is to be done first
                return
            self._waiting.popleft()

    def _flush_again(self) -> None:
        self._is_retrying = False
        self._flush()

    # --- from the keeper ----------------------------------------------------------------

    def _listen(self) -> None:
        try:
            data, fds, flags = self._mailbox.receive(self._socket)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, fds, flags = memoryview(b""), [], 0
        if not data:
            self._end("the keeper has ended")
            return
        self._heard = True
        try:
            facts = decoded(data, flags)
        except Exception as e:  # noqa: BLE001 - whatever it said: it is believed no more
            self._end(f"the keeper answered nonsense: {e!r}"[:200])
            facts = ()
        for fact in facts:
            try:
                self._hear(fact, fds)
            except Exception:  # noqa: BLE001 - the host's own failure: the keeper is not to blame
                _log.exception("procvm: what the keeper told could not be dealt with")
        for fd in fds:
            os.close(fd)

    def _hear(self, fact: Any, fds: list[int]) -> None:
        if fact[0] == words.PONG:
            return
        if fact[0] != words.HELLO:
            self._tell(fact, fds)
            return
        if self.is_up or fact[1] != words.VERSION:
            self._end("the keeper answered nonsense: it greets twice, or speaks another version")
            return
        self.facts = {name: fact[2][name] for name in words.ABILITIES}
        self.is_up = True
        self._waiting.appendleft((marshal.dumps((words.HELLO, words.VERSION)), None))
        self._tell(fact, fds)
        self._flush()

    # --- when it falls silent -------------------------------------------------------------

    def _expect_an_answer(self) -> None:
        self._heard = False
        if not self._is_ticking:
            self._is_ticking, self._silent = True, 0
            self._tick_in()

    def _tick_in(self) -> None:
        due = self._reactor.monotonic() + _TICK
        self._reactor.call_later(_TICK, lambda: self._tick(due))

    def _tick(self, due: float) -> None:
        if self._is_over:
            return
        if self._heard:
            self._is_ticking = False
            return
        is_late = self._reactor.monotonic() - due >= _LATE
        self._silent += not is_late
        most = _MOST_SILENT_TICKS if self.is_up else _TICKS_TO_GREET
        if self._silent > most:
            self._is_ticking = False
            self._end(f"the keeper did not answer for {most * _TICK:g} s")
            return
        if is_late or self._silent > 1:  # at the first it may be about to answer
            self._continue_if_stopped()
        if self.is_up:
            try:
                CALLS.send(self._socket, marshal.dumps((words.PING,)))
            except OSError:
                pass  # full: it has enough to answer; closed: told by event
        self._tick_in()

    def _continue_if_stopped(self) -> None:
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_bytes()
        except OSError:
            return
        if stat.rpartition(b")")[2].split()[:1] == [b"T"]:
            os.kill(self.process.pid, signals.SIGCONT)  # not reaped: its number is its own

    def _end(self, why: str) -> None:
        if self._is_over:
            return
        if not self.is_up and self._is_named:
            self._end_process()
            self._is_named = False
            try:
                self._start()
            except OSError as e:
                why = f"{why}, and could not be started again: {e}"
            else:
                return
        self._drop()
        self._end_process()
        self._lost(why)

    def _end_process(self) -> None:
        self._close_socket()
        self.process.kill()
        self.process.wait()

    def _drop(self) -> None:
        self._is_over = True
        if self.facts.get("tag") and self.facts["outermost"]:
            _ended_tags.add(self.facts["base"] >> _OWN_BITS)
        self._close_socket()
        self._forget_what_waits()

    def _close_socket(self) -> None:
        if self._socket.fileno() >= 0:
            self._reactor.unregister(self._socket.fileno())
        if self._using.acquire(blocking=False):  # else whoever has it closes it
            try:
                self._socket.close()
            finally:
                self._using.release()

    def _forget_what_waits(self) -> None:
        for _, fd in self._waiting:
            if fd is not None:
                os.close(fd)
        self._waiting.clear()

    def close(self) -> None:
        """End it, and wait for its end."""
        if self._is_over:
            return
        try:
            self._socket.send(marshal.dumps((words.QUIT,)))
        except OSError:
            pass  # the end of the socket says the same
        self._drop()
        try:
            self.process.wait(6.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def forget(self) -> None:
        """Close this forked child's copies, and forget the parent's child."""
        self._is_over = True
        self._socket.close()
        self._forget_what_waits()
        self.process.returncode = 0  # the parent's child: not to be waited for here


def _write_all(fd: int, data: bytes) -> None:
    """Write all of it: where there is too little room a write is cut short, the next one fails."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _encoded(env: dict[str, str]) -> dict[bytes, bytes]:
    return {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
