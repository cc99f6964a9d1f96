"""containment="group": Popen's own path, a session for each VM, and what can be found of it.

The main process stays unreaped until its tree is gone, so that its number, and with it the
group's, cannot be reused meanwhile.
"""

from __future__ import annotations

import os
import signal as signals
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from ...errors import ProcVMError, StartError
from ...facts import Survivor
from ..base import Key, Plan
from ._belongs import belongs
from ._errors import start_error, translated
from ._exits import exits_for
from ._guard import Guard, ticks, weaknesses
from ._held import Held, group_of, step_of
from ._holds import Holding, Reactor
from ._launch import launch_words, user_words
from ._members import MARKER, Look, Member, handle_of, is_stopped, members
from ._passes import Passes

__all__ = ["GroupHolder"]

_SLOWEST_LOOK = 0.05
_PATIENCE = 1.0  # after the deadline, which is also when it is killed
_LEAST_AFTER_KILL = 0.3
_SURE_PASSES = 2
_UNSURE_PASSES = 10  # who stays empty has cleared its environment
_LONGEST_EXEC = 10.0  # seconds that a busy machine may leave one in its exec
_PATIENCE_WITH_EXEC = 0.5  # after the deadline
_LOOK_AT_SURVIVORS = 0.2
_WAKE = 0.02  # seconds after the question; most are gone by then


class GroupHolder:
    """Starts, signals and takes away process groups and what can be found of their trees."""

    containment = "group"

    def __init__(self, reactor: Reactor, holding: Holding) -> None:
        self._reactor = reactor
        self._holding = holding
        self._held: dict[Key, Held] = {}
        self._passes = Passes(reactor)
        self._exits = exits_for(reactor)
        self._guard = Guard(reactor) if Guard.is_available() else None

    @property
    def host_death(self) -> bool:
        """See Holder."""
        return self._guard is not None and not self._guard.is_lacking

    @property
    def degraded(self) -> tuple[str, ...]:
        """See Holder."""
        return weaknesses(self._guard)

    def prepare(self) -> None:
        """See Holder."""
        if self._guard is not None:
            with suppress(OSError):
                self._guard.begin()

    def alert(self) -> None:
        """See Holder."""

    def spawn(self, key: Key, plan: Plan, env: Mapping[str, str]) -> None:
        """See Holder."""
        ends: list[int] = []
        try:
            ends += os.pipe()
            ends += os.pipe()
            held = self._start(key, plan, {**env, MARKER: key.vm_id}, ends)
        except (OSError, ValueError, subprocess.SubprocessError, ProcVMError) as e:
            for end in ends:
                os.close(end)
            if self._guard is not None:
                self._guard.let_go(key.vm_id)
            self._holding.held_failed(key, self._told(e, plan))
            return
        os.close(ends[1])
        os.close(ends[3])
        os.set_blocking(ends[0], False)
        os.set_blocking(ends[2], False)
        self._held[key] = held
        self._holding.held_started(key, held.pid, ends[0], ends[2])
        self._watch(held)

    def _told(self, error: BaseException, plan: Plan) -> StartError:
        if isinstance(error, StartError):
            return error
        if isinstance(error, OSError):
            told = translated(error, plan, step_of(error, plan))
        else:
            told = start_error(StartError, str(error), plan, step="spawn")
        told.__cause__ = error
        return told

    def _start(self, key: Key, plan: Plan, env: dict[str, str], ends: list[int]) -> Held:
        who, env = user_words(plan, env)
        executable, argv = launch_words(plan, env)
        if self._guard is not None:  # it knows before there is a process
            self._guard.expect(key.vm_id)
        began, since = self._reactor.monotonic(), ticks()
        process = subprocess.Popen(  # noqa: S603 - running programs is what this is for
            argv, executable=executable, cwd=plan.directory, env=env, stdin=subprocess.DEVNULL,
            stdout=ends[1], stderr=ends[3], start_new_session=True, **who,
        )  # fmt: skip
        held = Held(key, plan, process, began)
        try:
            held.handle = handle_of(process.pid)
        except OSError:
            os.killpg(process.pid, signals.SIGKILL)
            process.wait()
            raise
        if self._guard is not None:
            self._guard.keep(held.pid, key.vm_id, since)
        return held

    def _watch(self, held: Held) -> None:
        if held.handle is not None:
            self._reactor.register(held.handle, lambda: self._ended(held, None))
            return
        self._exits.watch(held.pid, lambda status: self._ended(held, status))

    def _ended(self, held: Held, told: int | None) -> None:
        if held.has_ended:
            return
        self._close_handle(held)
        if told is not None:
            code = os.waitstatus_to_exitcode(told)
            held.code, held.signal = (code, None) if code >= 0 else (None, -code)
        elif not held.take_status():
            self._exits.watch(held.pid, lambda status: self._ended(held, status))
            return
        held.has_ended = True
        self._passes.soon(held, partial(self._look_first, held, again=True))

    def _look_first(self, held: Held, look: Look, *, again: bool) -> None:
        """Tell the exit; all at once where nothing is left, as with most."""
        if held.key not in self._held:
            return
        if look.is_sure and not look.left:
            if look.is_still or not again:
                self._finish(held)
            else:  # what was hidden from one pass is seen by the next
                self._passes.soon(held, partial(self._look_first, held, again=False))
            return
        self._tell_exit(held, tree_gone=False)
        now = self._reactor.monotonic()
        if held.deadline is None:
            held.deadline = now + held.plan.config.stop.grace
        self._ask_left(held, look.left)
        self._look_again(held)

    def _ask_left(self, held: Held, left: list[Member]) -> None:
        """Ask what the main process has left to end, each once."""
        for member in left:
            if member[:2] not in held.asked:
                held.asked.add(member[:2])
                self._passes.send(member, held.plan.config.stop.signal)
                self._passes.send(member, signals.SIGCONT)

    def _tell_exit(self, held: Held, *, tree_gone: bool) -> None:
        held.told_exit = True
        why = "" if held.is_owned else "its status was collected by somebody else"
        self._holding.held_exited(held.key, held.code, held.signal, tree_gone=tree_gone, why=why)

    def _look_again(self, held: Held) -> None:
        if held.timer is not None:
            held.timer.cancel()
        sweep = partial(self._passes.soon, held, partial(self._sweep, held))
        held.timer = self._reactor.call_later(held.look, sweep)
        held.look = min(held.look * 1.5, _SLOWEST_LOOK)

    def _sweep(self, held: Held, look: Look) -> None:
        """One pass: kill what is left when its time is up; done after two clean passes."""
        if held.key not in self._held:
            return
        left, is_blind = look.left, look.is_blind
        now = self._reactor.monotonic()
        overdue = held.deadline is not None and now >= held.deadline
        is_amid = self._is_amid(held, look, now)
        if left:
            held.clean = held.sure = 0
            if overdue:
                self._kill(held, left, now)
            elif held.has_ended:  # what was hidden from the looks before
                self._ask_left(held, left)
        elif held.has_ended and is_blind:
            if overdue:
                self._kill(held, [], now)
        elif held.has_ended and not is_amid:
            held.clean += 1
            held.sure = held.sure + 1 if look.is_sure else 0
            if held.sure >= _SURE_PASSES or held.clean > _UNSURE_PASSES:
                self._finish(held)
                return
        elif overdue and not held.has_ended:
            self._kill(held, [Member(held.pid, 0, "")], now)
        self._look_again(held)
        if held.told_survivors:
            held.look = _LOOK_AT_SURVIVORS

    def _is_amid(self, held: Held, look: Look, now: float) -> bool:
        """Tell whether somebody is still in the exec that it was in at the last look.

        It may be one of the tree's, which a busy machine does not let go on: it is told by its
        marker afterwards. Who is in one for the first time delays nothing, as there may be
        always another.
        """
        stays, held.in_exec = bool(look.in_exec & held.in_exec), look.in_exec
        if not stays:
            held.amid_since = None
            return False
        held.amid_since = now if held.amid_since is None else held.amid_since
        end = held.amid_since + _LONGEST_EXEC
        if held.deadline is not None:
            end = min(end, held.deadline + _PATIENCE_WITH_EXEC)
        return now < end

    def _kill(self, held: Held, left: list[Member], now: float) -> None:
        """Kill what is left, and tell of what outlives that: late where the looks are slow."""
        self._signal_group(held, signals.SIGKILL)
        for member in left:
            self._passes.send(member, signals.SIGKILL)
        held.killed_at = now if held.killed_at is None else held.killed_at
        if held.told_survivors or held.deadline is None:
            return
        if now >= max(held.deadline + _PATIENCE, held.killed_at + _LEAST_AFTER_KILL):
            lasting = self._passes.lasting(left)
            if left and not lasting:
                return  # dead since that look, which the next one sees
            held.told_survivors = True
            who = tuple(Survivor(member.pid, member.command) for member in lasting)
            self._holding.held_survived(held.key, who)

    def _signal_group(self, held: Held, number: int) -> None:
        """Signal the group, while its leader is not reaped and the number so its own."""
        if not held.is_its_own():
            return
        try:
            os.killpg(held.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # gone, or all of it another user's

    def _signal_main(self, held: Held, number: int) -> None:
        if held.has_ended:
            return
        try:
            if held.handle is not None:
                signals.pidfd_send_signal(held.handle, number)
            else:
                os.kill(held.pid, number)  # not reaped: the number is its own
        except (ProcessLookupError, PermissionError):
            pass  # its end is told by event

    def _finish(self, held: Held) -> None:
        if held.timer is not None:
            held.timer.cancel()
        if held.is_its_own():
            try:
                os.waitpid(held.pid, os.WNOHANG)
            except ChildProcessError:
                pass  # reaped elsewhere since we looked: its status is known all the same
        held.process.returncode = held.code if held.code is not None else -(held.signal or 0)
        self._held.pop(held.key, None)
        if self._guard is not None:
            self._guard.let_go(held.key.vm_id)
        if held.told_exit:
            self._holding.held_gone(held.key)
        else:
            self._tell_exit(held, tree_gone=True)

    def _close_handle(self, held: Held) -> None:
        if held.handle is not None:
            self._reactor.unregister(held.handle)
            os.close(held.handle)
            held.handle = None

    def stop(self, key: Key, *, grace: float) -> None:
        """See Holder."""
        held = self._held.get(key)
        if held is None:
            self._reactor.post(lambda: self._holding.held_gone(key))
            return
        due = self._reactor.monotonic() + grace
        if held.told_survivors:
            held.told_survivors, held.killed_at = False, None
            held.deadline = due
        elif held.deadline is not None:
            held.deadline = min(held.deadline, due)
        else:
            held.deadline = due
            self._ask(held)
        left = held.deadline - self._reactor.monotonic()
        if held.has_ended or left <= 0:
            self._look_again(held)
        else:
            if held.timer is not None:
                held.timer.cancel()
            wake = partial(self._passes.soon, held, partial(self._wake, held))
            held.timer = self._reactor.call_later(min(left, _WAKE), wake)

    def _wake(self, held: Held, look: Look) -> None:
        """Continue stopped children: what their parent asks of them they hear else never."""
        if held.key not in self._held or held.has_ended:
            return
        left = (held.deadline or 0.0) - self._reactor.monotonic()
        if held.timer is not None:
            held.timer.cancel()
        sweep = partial(self._passes.soon, held, partial(self._sweep, held))
        held.timer = self._reactor.call_later(max(left, 0.0), sweep)
        for member in look.left:
            try:
                stopped = self._passes.spare.lend(partial(is_stopped, member.pid))
            except OSError:
                continue  # it cannot be looked at, and is killed when its time is up
            if stopped:
                self._passes.send(member, signals.SIGCONT)

    def _ask(self, held: Held) -> None:
        policy = held.plan.config.stop
        if policy.to == "tree":
            self._passes.soon(held, partial(self._ask_all, held))
        else:
            self._signal_main(held, policy.signal)
            self._signal_main(held, signals.SIGCONT)

    def _ask_all(self, held: Held, look: Look) -> None:
        if self._held.get(held.key) is not held:
            return
        held.asked.update(member[:2] for member in look.left)
        self._signal_tree(held, look, held.plan.config.stop.signal)
        self._signal_tree(held, look, signals.SIGCONT)

    def signal(self, key: Key, number: int, *, to: str) -> None:
        """See Holder."""
        held = self._held.get(key)
        if held is None:
            return
        if to == "main":
            self._signal_main(held, number)
        else:
            self._signal_tree(held, self._passes.now(held), number)

    def _signal_tree(self, held: Held, look: Look, number: int) -> None:
        self._signal_group(held, number)
        for member in look.left:
            if not held.is_owned or group_of(member.pid) != held.pid:
                self._passes.send(member, number)

    def pids(self, key: Key) -> tuple[int, ...]:
        """See Holder."""
        held = self._held.get(key)
        if held is None:
            return ()
        root = () if held.has_ended else (held.pid,)
        try:  # by itself: the loop's handles and spare descriptors are the loop's alone
            look = members(held.pid if held.is_owned else None, key.vm_id)
        except OSError:
            return root
        return (*root, *(member.pid for member in look.left))

    def owns(self, key: Key, pid: int) -> bool | None:
        """See Holder."""
        held = self._held.get(key)
        if held is None:
            return False
        root = held.pid if held.is_owned else None
        try:
            return self._passes.spare.lend(lambda: belongs(pid, key.vm_id, root=root))
        except OSError:
            return None

    def release(self, key: Key) -> None:
        """See Holder."""
        self._held.pop(key, None)

    def close(self) -> None:
        """See Holder."""
        self._held.clear()
        self._exits.close()
        self._passes.spare.close()
        if self._guard is not None:
            self._guard.close()

    def forget(self) -> None:
        """See Holder."""
        self._passes.spare.close()
        if self._guard is not None:
            self._guard.forget()
