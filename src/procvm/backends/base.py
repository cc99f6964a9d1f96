"""The contract between the engine and whatever runs programs.

A backend has one loop (a thread, or virtual time). The engine calls every method marked
*loop* only from it, and the backend calls its sink only from it. What happened comes back as
facts with the key of one incarnation; facts of a key the engine has released fall away.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import attrs

from .._probe import Probe
from ..config import VMConfig
from ..errors import StartError
from ..facts import Survivor, Usage

__all__ = ["Backend", "Capabilities", "Key", "Listener", "Plan", "Sink", "Timer", "Waiter"]


class Key(NamedTuple):
    """One incarnation of a VM."""

    vm_id: str
    generation: int


@attrs.frozen
class Plan:
    """What a backend is asked to run, after it looked.

    Attributes:
        config: What was asked for.
        base: The host's directory at allocate; relative paths start there.
        executable: The file that will run; empty on a fake.
        directory: Where it will run.
    """

    config: VMConfig
    base: str
    executable: str = ""
    directory: str = ""


@attrs.frozen
class Capabilities:
    """What a backend can promise here.

    Attributes:
        containment: ``'tree'``, ``'group'`` or ``'virtual'``.
        host_death: Whether nothing outlives a host that is killed.
        degraded: One sentence for each promise that is weaker here.
    """

    containment: str
    host_death: bool = True
    degraded: tuple[str, ...] = ()


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Forget it; again is silent."""


class Waiter(Protocol):
    """What a caller waits for."""

    def set(self) -> None:
        """Wake the caller."""

    def is_set(self) -> bool:
        """Tell whether it was woken."""


class Listener(Protocol):
    """One subscriber: a bounded queue and whoever empties it."""

    def put(self, item: Any) -> None:
        """Queue it; never blocks; what does not fit is counted as lost."""

    def stop(self) -> None:
        """Take nothing more; what is queued may still be delivered."""

    def join(self, timeout: float) -> None:
        """Wait until a stopped one has delivered, ``timeout`` seconds at most; never on itself."""


class Sink(Protocol):
    """Where a backend tells what happened; called in the backend's loop alone."""

    def started(self, key: Key, pid: int) -> None:
        """Its program is executing."""

    def start_failed(self, key: Key, error: StartError) -> None:
        """It could not be started; nothing of it remains, and no more is said of this key."""

    def output(self, key: Key, stream: str, data: bytes) -> None:
        """It wrote this; told before its exit."""

    def exited(
        self, key: Key, code: int | None, signal: int | None, *, tree_gone: bool, why: str = ""
    ) -> None:
        """Its main process ended; ``tree_gone``: nothing else of it lives, no gone follows."""

    def gone(self, key: Key) -> None:
        """Nothing of its tree lives any more."""

    def survived(self, key: Key, survivors: tuple[Survivor, ...]) -> None:
        """A stop is overdue: these are alive after SIGKILL; a gone may still come."""

    def lost(self, key: Key, why: str) -> None:
        """What held it was lost and everything of it is gone; no more is said of this key."""

    def probed(self, key: Key, role: str, *, passed: bool, words: str) -> None:
        """A probe (role ``'ready'`` or ``'alive'``) answered."""

    def said(self, key: Key, words: str) -> None:
        """It said this of itself, in one line: the STATUS= of sd_notify, say."""

    def warned(self, key: Key, words: str) -> None:
        """Something is to be known, the log file's disk is full, say."""


class Backend(abc.ABC):
    """Something that runs programs for one engine."""

    def __dir__(self) -> list[str]:
        """Name what is for users, for whoever lets a notebook complete it."""
        ours = vars(Backend).keys() - {"capabilities", "hints"}
        return [name for name in super().__dir__() if name[:1] == "_" or name not in ours]

    @property
    @abc.abstractmethod
    def capabilities(self) -> Capabilities:
        """What holds here."""

    @abc.abstractmethod
    def open(self, sink: Sink) -> None:
        """Take the engine's sink; a second engine gets a ConfigError. Starts nothing yet."""

    def prepare(self) -> None:
        """Any thread: start what the first program would, and close ends; nothing by default."""
        return

    @abc.abstractmethod
    def post(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop, in order; from any thread; never blocks."""

    @property
    def is_loop(self) -> bool:
        """Any thread: whether the caller runs in the loop, where nothing can be waited for."""
        return False

    @abc.abstractmethod
    def waiter(self) -> Waiter:
        """Make a waiter."""

    @abc.abstractmethod
    def block(self, waiter: Waiter, timeout: float | None) -> bool:
        """Block the caller until ``waiter`` is set (True) or time is up (False).

        A backend in virtual time moves time here, and raises UnreachableStateError's facts as
        RuntimeError("no event is left ...") when that is so and timeout is None.
        """

    def wake_callers(self) -> None:
        """Loop: wake at once whose waiters are set, where that is put off; nothing by default.

        Code that is not the engine's runs next, and may wait for what such a caller holds.
        """
        return

    def hints(self, name: str | None = None) -> Sequence[str]:  # noqa: ARG002 - of that VM, or of all
        """Return sentences that may tell why nothing comes of a VM, or of any; none by default."""
        return ()

    @abc.abstractmethod
    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        """Loop: run ``call`` in the loop after ``delay`` seconds."""

    @abc.abstractmethod
    def monotonic(self) -> float:
        """Return seconds that only grow; every decision is made by them."""

    @abc.abstractmethod
    def wall(self) -> float:
        """Return the Unix time, for people."""

    @abc.abstractmethod
    def new_id(self) -> str:
        """Return 128 random bits as 32 hex digits."""

    @abc.abstractmethod
    def chance(self) -> float:
        """Return a random number between -1 and 1, for jitter."""

    @abc.abstractmethod
    def listen(self, callback: Callable[[Any], None], *, name: str) -> Listener:
        """Deliver items to ``callback`` in order, off the loop (a fake: between steps)."""

    @abc.abstractmethod
    def resolve(self, config: VMConfig, base: str) -> Plan:
        """Look at what is to run, in any thread; raises StartError; starts nothing."""

    def renew(self, plan: Plan) -> Plan:
        """Loop: look again before a further start; what was found may have gone since."""
        return self.resolve(plan.config, plan.base)

    @abc.abstractmethod
    def spawn(self, key: Key, plan: Plan) -> None:
        """Loop: start it; answers started or start_failed.

        When its main process ends by itself the backend takes the rest away on its own, with
        ``plan.config.stop``, and tells gone (or ``tree_gone``) when that is done.
        """

    @abc.abstractmethod
    def stop(self, key: Key, *, grace: float) -> None:
        """Loop: take the whole tree away, politely for ``grace`` seconds, then by force.

        With ``plan.config.stop``'s signal and target. May come at any time after spawn, also
        before started; again with a shorter grace shortens it. Answers (exited and) gone;
        survived when SIGKILL did not help.
        """

    @abc.abstractmethod
    def signal(self, key: Key, number: int, *, to: str) -> None:
        """Loop: send a signal to the main process (``'main'``) or the tree (``'tree'``)."""

    @abc.abstractmethod
    def watch(self, key: Key, role: str, probe: Probe) -> None:
        """Loop: ask ``probe``; as ready until it passes, as alive at its interval for ever."""

    @abc.abstractmethod
    def unwatch(self, key: Key, role: str) -> None:
        """Loop: stop asking; silent when nothing was asked."""

    @abc.abstractmethod
    def usage(self, key: Key) -> Usage:
        """Any thread: what its tree uses now; zeros when nothing of it lives."""

    @abc.abstractmethod
    def release(self, key: Key) -> None:
        """Loop: forget this key; nothing of it lives."""

    @abc.abstractmethod
    def close(self) -> None:
        """Any thread: end the loop after what was posted; nothing lives; again is silent."""
