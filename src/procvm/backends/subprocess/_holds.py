"""What holds process trees (a group, or a keeper), and what it tells the backend.

A holder lives in the reactor's thread: it is called there and tells there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from ...errors import StartError
from ...facts import Survivor
from ..base import Key, Plan, Timer

__all__ = ["Holder", "Holding", "Reactor"]


class Reactor(Protocol):
    """The one loop: descriptors, timers and calls from other threads."""

    def register(self, fd: int, ready: Callable[[], object]) -> None:
        """Call ``ready`` whenever ``fd`` is readable or hung up (level-triggered)."""

    def unregister(self, fd: int) -> None:
        """Stop watching ``fd``; do so before it is closed."""

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        """Run ``call`` after ``delay`` seconds."""

    def post(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop; from any thread."""

    def monotonic(self) -> float:
        """Return seconds that only grow."""


class Holding(Protocol):
    """What a holder tells; the backend drains the pipes and tells its sink."""

    def held_started(self, key: Key, pid: int, stdout: int, stderr: int) -> None:
        """It runs; the two descriptors (read ends, non-blocking) are the backend's now."""

    def held_failed(self, key: Key, error: StartError) -> None:
        """It could not be started; nothing of it remains."""

    def held_exited(
        self, key: Key, code: int | None, signal: int | None, *, tree_gone: bool, why: str = ""
    ) -> None:
        """Its main process ended; with ``tree_gone`` no held_gone follows."""

    def held_gone(self, key: Key) -> None:
        """Nothing of its tree lives."""

    def held_survived(self, key: Key, survivors: tuple[Survivor, ...]) -> None:
        """These are alive after SIGKILL; held_gone may still come."""

    def held_lost(self, key: Key, why: str) -> None:
        """What held it was lost and everything of it has been taken away."""


class Holder(Protocol):
    """Starts, signals and takes away process trees."""

    containment: str

    @property
    def host_death(self) -> bool:
        """Whether what it holds is taken away when this program is killed."""

    @property
    def degraded(self) -> tuple[str, ...]:
        """What does not hold here, a sentence each."""

    def prepare(self) -> None:
        """Start what helps (keeper, guard); what fails is told by the first spawn."""

    def alert(self) -> None:
        """Any thread: a start is about to be asked for, unless the look at it fails."""

    def spawn(self, key: Key, plan: Plan, env: Mapping[str, str]) -> None:
        """Start the plan's executable in a new session with exactly this environment."""

    def stop(self, key: Key, *, grace: float) -> None:
        """Take the tree away with plan.config.stop; see Backend.stop."""

    def signal(self, key: Key, number: int, *, to: str) -> None:
        """Signal the main process or the tree."""

    def pids(self, key: Key) -> tuple[int, ...]:
        """Any thread: everything that lives of the tree, as far as it can be found."""

    def owns(self, key: Key, pid: int) -> bool | None:
        """Tell whether a process is of the tree; None when it is gone and cannot be asked."""

    def release(self, key: Key) -> None:
        """Forget it."""

    def forget(self) -> None:
        """In a forked child: close its copies of what is the parent's."""

    def close(self) -> None:
        """Nothing lives any more: end what helps (keeper, guard) and close every descriptor."""
