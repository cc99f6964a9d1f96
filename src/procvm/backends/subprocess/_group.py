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
from ._guard import Guard, weaknesses
from ._held import Held, group_of, is_zombie, step_of
from ._holds import Holding, Reactor
from ._launch import launch_words, user_words
from ._members import MARKER, Look, Member, handle_of, is_stopped, members, send
from ._spare import Spare

__all__ = ["GroupHolder"]

_SLOWEST_LOOK = 0.05
_PATIENCE_AFTER_KILL = 1.0
_UNSURE_PASSES = 10  # an exec is over by then; who stays empty has cleared its environment
_LOOK_AT_SURVIVORS = 0.2
_WAKE = 0.02  # seconds after the question; most are gone by then


class GroupHolder:
    """Starts, signals and takes away process groups and what can be found of their trees."""

    containment = "group"

    def __init__(self, reactor: Reactor, holding: Holding) -> None:
        self._reactor = reactor
        self._holding = holding
        self._held: dict[Key, Held] = {}
        self._spare = Spare()
        self._exits = exits_for(reactor)
        self._guard = Guard() if Guard.is_available() else None
        self.host_death = self._guard is not None
        self.degraded = weaknesses(self._guard)

    def prepare(self) -> None:
        """See Holder."""
        if self._guard is not None:
            with suppress(OSError):
                self._guard.begin()

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
        self._expect(key.vm_id)
        began = self._reactor.monotonic()
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
            self._guard.keep(held.pid, key.vm_id)
        return held

    def _expect(self, vm_id: str) -> None:
        """Let the guard know, before there is a process; without it the promise is weaker."""
        if self._guard is None:
            return
        try:
            self._guard.expect(vm_id)
        except OSError:
            self._guard, self.host_death = None, False
            self.degraded = weaknesses(None)

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
        elif not self._has_status(held):
            self._exits.watch(held.pid, lambda status: self._ended(held, status))
            return
        held.has_ended = True
        look = self._left(held)
        if look.is_sure and not look.left and not look.is_still:
            look = self._left(held)  # what was hidden from one pass is seen by the next
        if look.is_sure and not look.left:
            self._finish(held)
            return
        self._tell_exit(held, tree_gone=False)
        now = self._reactor.monotonic()
        if held.deadline is None:
            held.deadline = now + held.plan.config.stop.grace
        for member in look.left:
            self._send(member, held.plan.config.stop.signal)
            self._send(member, signals.SIGCONT)
        self._look_again(held)

    def _has_status(self, held: Held) -> bool:
        """Ask how it ended, and leave it unreaped; False: it is its tracer's until that ends."""
        try:
            status = os.waitid(os.P_PID, held.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        except ChildProcessError:
            held.is_owned = False
            return True
        if status is None:
            return False
        if status.si_code == os.CLD_EXITED:
            held.code = status.si_status
        else:
            held.signal = status.si_status
        return True

    def _is_its_own(self, held: Held) -> bool:
        """Look, just before the number is used, whether somebody else has reaped it meanwhile.

        Then it may be another's, even another child's of this very process.
        """
        if not held.is_owned:
            return False
        try:
            if held.has_ended:
                held.is_owned = is_zombie(held.pid)
            elif held.handle is not None:
                signals.pidfd_send_signal(held.handle, 0)
        except (ProcessLookupError, ChildProcessError):
            held.is_owned = False
        except PermissionError:
            pass  # another user's by now, and there
        return held.is_owned

    def _left(self, held: Held) -> Look:
        age = self._reactor.monotonic() - held.began
        root = held.pid if self._is_its_own(held) else None
        try:
            return self._spare.lend(lambda: members(root, held.key.vm_id, age))
        except OSError:
            return Look([], is_sure=False, is_blind=True)

    def _send(self, member: Member, number: int) -> None:
        try:
            self._spare.lend(lambda: send(member, number))
        except OSError:
            pass  # the next look finds it again

    def _tell_exit(self, held: Held, *, tree_gone: bool) -> None:
        held.told_exit = True
        why = "" if held.is_owned else "its status was collected by somebody else"
        self._holding.held_exited(held.key, held.code, held.signal, tree_gone=tree_gone, why=why)

    def _look_again(self, held: Held) -> None:
        if held.timer is not None:
            held.timer.cancel()
        held.timer = self._reactor.call_later(held.look, lambda: self._sweep(held))
        held.look = min(held.look * 1.5, _SLOWEST_LOOK)

    def _sweep(self, held: Held) -> None:
        """One pass: kill what is left when its time is up; done after two clean passes."""
        if held.key not in self._held:
            return
        left, is_sure, _, is_blind = self._left(held)
        now = self._reactor.monotonic()
        overdue = held.deadline is not None and now >= held.deadline
        if left:
            held.clean = 0
            if overdue:
                self._kill(held, left)
                self._tell_survivors(held, left, now)
        elif held.has_ended and is_blind:
            if overdue:
                self._kill(held, [])
                self._tell_survivors(held, [], now)
        elif held.has_ended:
            held.clean += 1
            if held.clean > (1 if is_sure else _UNSURE_PASSES):
                self._finish(held)
                return
        elif overdue:
            self._kill(held, [])
            self._tell_survivors(held, [Member(held.pid, 0, "")], now)
        self._look_again(held)
        if held.told_survivors:
            held.look = _LOOK_AT_SURVIVORS

    def _tell_survivors(self, held: Held, left: list[Member], now: float) -> None:
        if held.told_survivors or held.deadline is None:
            return
        if now >= held.deadline + _PATIENCE_AFTER_KILL:
            held.told_survivors = True
            who = tuple(Survivor(member.pid, member.command) for member in left)
            self._holding.held_survived(held.key, who)

    def _kill(self, held: Held, left: list[Member]) -> None:
        self._signal_group(held, signals.SIGKILL)
        for member in left:
            self._send(member, signals.SIGKILL)

    def _signal_group(self, held: Held, number: int) -> None:
        """Signal the group, while its leader is not reaped and the number so its own."""
        if not self._is_its_own(held):
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
        if self._is_its_own(held):
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
            held.told_survivors = False
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
            held.timer = self._reactor.call_later(min(left, _WAKE), lambda: self._wake(held))

    def _wake(self, held: Held) -> None:
        """Continue stopped children: what their parent asks of them they hear else never."""
        if held.key not in self._held:
            return
        left = (held.deadline or 0.0) - self._reactor.monotonic()
        held.timer = self._reactor.call_later(max(left, 0.0), lambda: self._sweep(held))
        for member in self._left(held).left:
            try:
                stopped = self._spare.lend(partial(is_stopped, member.pid))
            except OSError:
                continue  # it cannot be looked at, and is killed when its time is up
            if stopped:
                self._send(member, signals.SIGCONT)

    def _ask(self, held: Held) -> None:
        policy = held.plan.config.stop
        if policy.to == "tree":
            self.signal(held.key, policy.signal, to="tree")
            self.signal(held.key, signals.SIGCONT, to="tree")
        else:
            self._signal_main(held, policy.signal)
            self._signal_main(held, signals.SIGCONT)

    def signal(self, key: Key, number: int, *, to: str) -> None:
        """See Holder."""
        held = self._held.get(key)
        if held is None:
            return
        if to == "main":
            self._signal_main(held, number)
            return
        outside = self._left(held).left
        self._signal_group(held, number)
        for member in outside:
            if not held.is_owned or group_of(member.pid) != held.pid:
                self._send(member, number)

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
            return self._spare.lend(lambda: belongs(pid, key.vm_id, root=root))
        except OSError:
            return None

    def release(self, key: Key) -> None:
        """See Holder."""
        self._held.pop(key, None)

    def close(self) -> None:
        """See Holder."""
        self._held.clear()
        self._exits.close()
        self._spare.close()
        if self._guard is not None:
            self._guard.close()

    def forget(self) -> None:
        """See Holder."""
        self._spare.close()
        if self._guard is not None:
            self._guard.forget()
