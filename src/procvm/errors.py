"""Floor 1, what can go wrong: each error carries the data it speaks of, as values.

Tests and callers compare the class, its ``code`` and its fields; the sentence is built from
the fields. Every error pickles, copies and compares.
"""

from __future__ import annotations

import shlex
from typing import Any, ClassVar

import attrs

from .facts import Exit, LogLine, Survivor

__all__ = [
    "AnswerTimeoutError",
    "ConfigError",
    "DuplicateNameError",
    "ExitedBeforeReadyError",
    "ForkedManagerError",
    "ManagerClosedError",
    "NotExecutableError",
    "PolicyError",
    "ProcVMError",
    "ProgramNotFoundError",
    "ProtocolError",
    "ReadyTimeoutError",
    "RemoteError",
    "ResourceError",
    "StartError",
    "StartInterruptedError",
    "StopError",
    "UnreachableStateError",
    "VMNotFoundError",
    "WaitTimeoutError",
    "WorkingDirectoryError",
]

_LONGEST = 200
_SHOWN_LINES = 10


def shortened(value: Any, longest: int = _LONGEST) -> str:
    """Return the repr of any value, cut in the middle when long; never raises."""
    try:
        if isinstance(value, (str, bytes)) and len(value) > longest:
            value = value[:longest]
            return repr(value)[: longest + 2] + "..."
        text = repr(value)
    except Exception:  # noqa: BLE001 - a hostile __repr__ must not hide the error it is part of
        return f"<{type(value).__name__}>"
    return text if len(text) <= longest else text[: longest - 20] + "..." + text[-17:]


def _last_output(logs: tuple[LogLine, ...]) -> str:
    if not logs:
        return ""
    last = logs[-_SHOWN_LINES:]
    lines = (f"\n  {line.stream}: {line.shown[:_LONGEST]}" for line in last)
    return "".join(["\nIts last output:", *lines])


class ProcVMError(Exception):
    """The root of every error that procvm raises."""

    code: ClassVar[str] = "procvm-error"

    def __eq__(self, other: object) -> bool:
        """Two errors are equal when their class and all their facts are."""
        return type(self) is type(other) and self.args == getattr(other, "args", None)

    def __hash__(self) -> int:
        """Hash by the class; facts may be unhashable."""
        return hash(type(self))

    def __repr__(self) -> str:
        """Return the class and its facts, cut when long."""
        names = [a.name for a in getattr(type(self), "__attrs_attrs__", ())]
        facts = ", ".join(f"{name}={shortened(getattr(self, name))}" for name in names)
        return f"{type(self).__name__}({facts})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as class, facts and notes."""
        return (
            type(self),
            self.args,
            {k: v for k, v in self.__dict__.items() if k == "__notes__"},
        )


@attrs.define(auto_exc=True, slots=False, eq=False, repr=False)
class ConfigError(ProcVMError, ValueError):
    """A configuration that can never work; raised where it is made, nothing was started."""

    code: ClassVar[str] = "config"
    field: str
    value: Any
    why: str

    def __str__(self) -> str:
        """Name the field, the value and the way out."""
        return f"{self.field}={shortened(self.value)}: {self.why}"


@attrs.define(auto_exc=True, slots=False, eq=False, repr=False)
class StartError(ProcVMError):
    """A program could not be started; nothing of it remains.

    Attributes:
        why: What happened and what to do about it.
        name: The VM's name.
        vm_id: Its identity, None when none was given yet.
        argv: What was to be run.
        directory: Where it was to run.
        path: The file or directory that the error speaks of.
        step: What was being done: resolve, directory, thread, spawn, log, user, limits, ready.
        errno: The system's error number, None where there was none.
        exit: How the program ended, None when it did not.
        logs: The last lines that it wrote.
    """

    code: ClassVar[str] = "start"
    why: str
    name: str = ""
    vm_id: str | None = None
    argv: tuple[str, ...] = ()
    directory: str = ""
    path: str | None = None
    step: str = "spawn"
    errno: int | None = None
    exit: Exit | None = None
    logs: tuple[LogLine, ...] = ()

    def __str__(self) -> str:
        """Say which VM, what was tried, what happened and what was written last."""
        text = f"VM {shortened(self.name)} did not start: {self.why}"
        if self.argv:
            text += f" [tried {shortened(shlex.join(self.argv))} in {shortened(self.directory)}]"
        return text + _last_output(self.logs)


class ProgramNotFoundError(StartError):
    """The program, or the interpreter that its first line names, does not exist."""

    code = "program-not-found"


class NotExecutableError(StartError):
    """The file is there but cannot be run: no permission, a directory, a text without ``#!``."""

    code = "not-executable"


class WorkingDirectoryError(StartError):
    """The directory to run in is missing, or is no directory, or may not be entered."""

    code = "working-directory"


class ResourceError(StartError):
    """The machine has no process, descriptor or memory left, or the arguments are too long."""

    code = "resource"


class ReadyTimeoutError(StartError):
    """The program ran but was not ready in time; it has been taken away again."""

    code = "ready-timeout"


class ExitedBeforeReadyError(StartError):
    """The program ended before it was ready; its exit and last lines are with the error."""

    code = "exited-before-ready"


class StartInterruptedError(StartError):
    """The start was taken back: removed, closed or interrupted before it was complete."""

    code = "start-interrupted"


@attrs.define(auto_exc=True, slots=False, eq=False, repr=False)
class StopError(ProcVMError):
    """Something of a VM is still alive after SIGKILL; the VM stays listed as stopping."""

    code: ClassVar[str] = "stop"
    vm_id: str
    name: str
    survivors: tuple[Survivor, ...] = ()

    @property
    def pids(self) -> tuple[int, ...]:
        """The numbers of what is still alive."""
        return tuple(s.pid for s in self.survivors)

    def __str__(self) -> str:
        """Name who is still alive."""
        who = ", ".join(map(str, self.survivors)) or "something that could not be named"
        return (
            f"VM {shortened(self.name)} could not be stopped: still alive after SIGKILL: {who}; "
            "it ends when they do, or call remove again"
        )


@attrs.define(auto_exc=True, slots=False, eq=False, repr=False)
class VMNotFoundError(ProcVMError, LookupError):
    """No VM of this manager has that name or vm_id, or it is being taken away.

    Attributes:
        vm: What was asked for.
        was: The name of the one that was removed.
        stranger: The name of the one that another manager has.
        is_leaving: Whether it is being taken away, and so cannot be reset any more.
        near: Names of VMs there are that look like it, the nearest first; over the envelope none.
        way: What to give instead, where it stands for no VM at all: ``vm`` is then its kind.
    """

    code: ClassVar[str] = "vm-not-found"
    vm: str
    was: str = ""
    stranger: str = ""
    is_leaving: bool = False
    near: tuple[str, ...] = ()
    way: str = ""

    def __str__(self) -> str:
        """Name what was asked for, and whether there was one, here or elsewhere."""
        if self.way:
            return f"{self.vm} stands for no VM: {self.way}"
        if self.is_leaving:
            until = f"wait({shortened(self.vm)}, 'removed') returns when it is gone"
            return f"VM {shortened(self.vm)} is being taken away; {until}"
        if self.stranger:
            return (
                f"VM {shortened(self.stranger)} ({self.vm}) is another manager's, or was removed "
                "long ago; list() shows those of this one"
            )
        gone = f" any more: {shortened(self.was)} was removed" if self.was else ""
        way = "list() shows those there are"
        if self.near:
            way = f"did you mean {' or '.join(map(shortened, self.near))}?"
        return f"there is no VM {shortened(self.vm)}{gone}; {way}"


@attrs.define(auto_exc=True, slots=False, eq=False, repr=False)
class DuplicateNameError(ProcVMError):
    """A VM of this manager already has that name."""

    code: ClassVar[str] = "duplicate-name"
    name: str
    is_leaving: bool = False
    is_twice: bool = False

    def __str__(self) -> str:
        """Name it, and the ways out."""
        if self.is_twice:
            return f"two of the configurations are named {shortened(self.name)}"
        if self.is_leaving:
            until = f"wait({shortened(self.name)}, 'removed') returns when it is gone"
            return f"a VM named {shortened(self.name)} is being taken away; {until}"
        ways = "reset it, remove it first (also when it has ended) or choose another name"
        return f"a VM named {shortened(self.name)} exists; {ways}"


@attrs.define(auto_exc=True, slots=False, eq=False, repr=False)
class WaitTimeoutError(ProcVMError, TimeoutError):
    """A wait ended before what it waited for came; the VM goes on undisturbed."""

    code: ClassVar[str] = "wait-timeout"
    vm_id: str
    name: str
    timeout: float
    state: str
    awaited: str = ""

    def __str__(self) -> str:
        """Say how long was waited, for what, and where the VM is."""
        now = f"VM {shortened(self.name)} is in state {self.state}"
        return f"{now} after waiting {self.timeout:g} s" + (
            self.awaited and f" for {self.awaited}"
        )


@attrs.define(auto_exc=True, slots=False, eq=False, repr=False)
class UnreachableStateError(ProcVMError):
    """What was waited for can no longer come.

    Attributes:
        vm_id: The VM's identity.
        name: Its name.
        state: Where it is, and stays.
        why: What made it so.
        exit: How its program ended last, None when it did not.
        logs: The last lines that this life of it wrote.
    """

    code: ClassVar[str] = "unreachable-state"
    vm_id: str
    name: str
    state: str
    why: str
    exit: Exit | None = None
    logs: tuple[LogLine, ...] = ()

    def __str__(self) -> str:
        """Say where the VM is, why it stays there and what was written last."""
        now = f"VM {shortened(self.name)} is in state {self.state}"
        text = f"{now}; what is waited for does not come: {self.why}"
        return text + _last_output(self.logs)


@attrs.define(auto_exc=True, slots=False, eq=False, repr=False)
class ManagerClosedError(ProcVMError):
    """The manager is closed; only logs, history and timeline go on answering."""

    code: ClassVar[str] = "manager-closed"
    verb: str = ""

    def __str__(self) -> str:
        """Say what was tried."""
        rest = "history, logs and timeline still answer"
        return f"{self.verb or 'this'}: the manager is closed; make a new one; {rest}"


@attrs.define(auto_exc=True, slots=False, eq=False, repr=False)
class ForkedManagerError(ProcVMError):
    """The manager was made by a parent of this process, and stayed there."""

    code: ClassVar[str] = "forked-manager"
    owner: int

    def __str__(self) -> str:
        """Say whose it is."""
        return f"this manager belongs to process {self.owner}; a forked child makes its own"


@attrs.define(auto_exc=True, slots=False, eq=False, repr=False)
class ProtocolError(ProcVMError, ValueError):
    """A message that is none, or that its dialect cannot carry.

    Attributes:
        path: Where in the message, ``args.config.env`` say.
        why: What is wrong there.
    """

    code: ClassVar[str] = "protocol"
    path: str
    why: str

    def __str__(self) -> str:
        """Name the place and the reason."""
        return f"{self.path or 'message'}: {self.why}"


@attrs.define(auto_exc=True, slots=False, eq=False, repr=False)
class PolicyError(ProcVMError):
    """A request that the policy does not allow; nothing was done."""

    code: ClassVar[str] = "policy"
    path: str
    why: str

    def __str__(self) -> str:
        """Name the place and the reason."""
        return f"{self.path}: {self.why}"


@attrs.define(auto_exc=True, slots=False, eq=False, repr=False)
class RemoteError(ProcVMError):
    """The other side failed, and said so in one sentence."""

    code: ClassVar[str] = "remote"
    message: str
    remote_code: str = ""

    def __str__(self) -> str:
        """Return what the other side said."""
        return self.message


@attrs.define(auto_exc=True, slots=False, eq=False, repr=False)
class AnswerTimeoutError(ProcVMError, TimeoutError):
    """The other side did not answer in time; what was asked may be done all the same."""

    code: ClassVar[str] = "answer-timeout"
    verb: str
    timeout: float

    def __str__(self) -> str:
        """Say what was asked, and how to find out what became of it."""
        return (
            f"{self.verb}: no answer within {self.timeout:g} s; it may have been done all the "
            "same: list() tells"
        )
