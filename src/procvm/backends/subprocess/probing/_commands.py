"""The commands of probes: each a tree of its own, held and taken away like every program's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import attrs

from ....config import LogPolicy, StopPolicy
from ....errors import ProcVMError, StartError
from ....facts import Exit, Survivor
from ...base import Key, Plan
from .._environment import environment_of
from .._holds import Holder
from .._lease import LoopLease
from .._pipe import Pipes
from .._resolve import resolve
from ._tries import Answer

__all__ = ["Commands"]

_KEPT = 2048
_PATIENCE = 5.0  # seconds from the kill until the next try may begin all the same


class _Run:
    """One run of one command."""

    def __init__(self, owner: Key, plan: Plan, loop: LoopLease) -> None:
        self.owner, self.plan = owner, plan
        self.told = threading.Event()
        self.gone = threading.Event()
        self.answer: Answer | None = None
        self.tails = {"stdout": b"", "stderr": b""}
        self.pipes = Pipes(loop, self._got)

    def _got(self, stream: str, data: bytes) -> None:
        self.tails[stream] = (self.tails[stream] + data[-_KEPT:])[-_KEPT:]

    def last_words(self, *, passed: bool) -> str:
        """Return the last line of stderr where it failed, else of stdout; if none, the other's.

        Which of two pipes was written last nobody can tell.
        """
        for stream in ("stdout", "stderr") if passed else ("stderr", "stdout"):
            lines = self.tails[stream].decode("utf-8", "replace").strip().splitlines()
            if lines:
                return lines[-1]
        return ""

    def tell(self, passed: bool, words: str) -> None:  # noqa: FBT001 - an answer
        if self.answer is None:
            self.answer = (passed, words)
        self.told.set()


class Commands:
    """Runs them through the holder; everything but ``ask`` runs in the loop."""

    holder: Holder  # set when there is one: it tells to what is made of this

    def __init__(
        self, reactor: LoopLease, survived: Callable[[Key, tuple[Survivor, ...]], None]
    ) -> None:
        self._reactor, self._survived = reactor, survived
        self._runs: dict[Key, _Run] = {}
        self._leaving: dict[Key, Callable[[], None]] = {}
        self._number = 0

    def __contains__(self, key: Key) -> bool:
        """Tell whether a key is a command's and no VM's."""
        return key in self._runs

    def ask(
        self, owner: Key, plan: Plan, argv: Sequence[str], seconds: float, stopped: threading.Event
    ) -> Answer:  # fmt: skip
        """In a thread: run ``argv`` beside the VM, with its user, limits and environment."""
        try:
            config = attrs.evolve(
                plan.config, command=argv, path=plan.directory, ready=None, alive=None,
                log=LogPolicy(keep=0), stop=StopPolicy(grace=0),
            )  # fmt: skip
            run = _Run(owner, resolve(config, plan.base), self._reactor)
        except ProcVMError as e:
            return False, str(getattr(e, "why", e))
        self._reactor.post(lambda: self._begin(run, stopped))
        if not run.told.wait(min(seconds, threading.TIMEOUT_MAX)):
            words = f"{argv[0]} did not end within {seconds:g} s"
            self._reactor.post(lambda: self._give_up(run, words))
            run.gone.wait(_PATIENCE)
            return False, words
        return run.answer or (False, "it was not asked")

    def stop_all(self, owner: Key, then: Callable[[], None] | None = None) -> bool:
        """Take away what runs for ``owner``; False when nothing does, else ``then`` follows."""
        keys = [key for key, run in self._runs.items() if run.owner == owner]
        if keys and then is not None:
            self._leaving[owner] = then
        for key in keys:
            self._runs[key].tell(False, "the VM is stopping")
            self.holder.stop(key, grace=0.0)
        return bool(keys)

    def _begin(self, run: _Run, stopped: threading.Event) -> None:
        if stopped.is_set() or run.told.is_set():
            run.tell(False, "the VM is stopping")
            run.gone.set()
            return
        self._number += 1
        key = Key(f"{run.owner.vm_id}.probe-{self._number}", run.owner.generation)
        self._runs[key] = run
        self.holder.spawn(key, run.plan, environment_of(run.plan.config))

    def _give_up(self, run: _Run, words: str) -> None:
        run.tell(False, words)
        for key, one in self._runs.items():
            if one is run:
                self.holder.stop(key, grace=0.0)
                return
        run.gone.set()

    # --- what the holder tells: see Holding -----------------------------------------------

    def held_started(self, key: Key, pid: int, stdout: int, stderr: int) -> None:  # noqa: ARG002 - as told
        """Read what it writes: its last words are the probe's."""
        pipes = self._runs[key].pipes
        pipes.open(stdout, stderr)
        pipes.watch()

    def held_failed(self, key: Key, error: StartError) -> None:
        """It could not be started: that is the answer."""
        self._runs[key].tell(False, error.why)
        self._end(key)

    def held_exited(
        self,
        key: Key,
        code: int | None,
        signal: int | None,
        *,
        tree_gone: bool,
        why: str = "",  # noqa: ARG002 - the same
    ) -> None:
        """Its end is the answer; what it leaves is killed at once."""
        self._runs[key].pipes.drain(lambda: self._exited(key, code, signal, tree_gone=tree_gone))

    def _exited(self, key: Key, code: int | None, signal: int | None, *, tree_gone: bool) -> None:
        run = self._runs[key]
        words = run.last_words(passed=code == 0)
        said = f": {words}" if words else ""
        run.tell(code == 0, f"{run.plan.config.command[0]} {Exit(code, signal, 0.0)}{said}")
        if tree_gone:
            self._end(key)
        else:
            self.holder.stop(key, grace=0.0)

    def held_gone(self, key: Key) -> None:
        """Nothing of it lives."""
        self._runs[key].pipes.drain(lambda: self._end(key))

    def held_survived(self, key: Key, survivors: tuple[Survivor, ...]) -> None:
        """Tell it of the VM, where that only waits for them."""
        owner = self._runs[key].owner
        if owner in self._leaving:
            self._survived(owner, survivors)

    def held_lost(self, key: Key, why: str) -> None:
        """The keeper has died, and it with it."""
        self._runs[key].tell(False, why)
        self._end(key)

    def _end(self, key: Key) -> None:
        run = self._runs.pop(key)
        run.pipes.close()
        self.holder.release(key)
        run.tell(False, "it was taken away")
        run.gone.set()
        if run.owner in self._leaving and not any(
            one.owner == run.owner for one in self._runs.values()
        ):
            self._leaving.pop(run.owner)()

    def close(self) -> None:
        """Answer whoever still waits; the holder takes everything away."""
        for run in self._runs.values():
            run.pipes.close()
            run.tell(False, "the manager is closed")
            run.gone.set()
        self._runs.clear()

    def forget(self) -> None:
        """In a forked child: close its copies of the pipes."""
        for run in self._runs.values():
            run.pipes.forget()
        self._runs.clear()
