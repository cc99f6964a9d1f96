"""Errors of the other side made anew: their class from the code, their facts from what is told."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable
from typing import Any

from ..config import VMConfig
from ..errors import (
    AnswerTimeoutError,
    ConfigError,
    DuplicateNameError,
    ExitedBeforeReadyError,
    ForkedManagerError,
    ManagerClosedError,
    NotExecutableError,
    PolicyError,
    ProcVMError,
    ProgramNotFoundError,
    ProtocolError,
    ReadyTimeoutError,
    RemoteError,
    ResourceError,
    StartError,
    StartInterruptedError,
    StopError,
    UnreachableStateError,
    VMNotFoundError,
    WaitTimeoutError,
    WorkingDirectoryError,
)  # fmt: skip
from ..facts import Survivor
from ._messages import AllocateVM, Failed, RemoveVM, Request, ResetVM

__all__ = ["revived"]

_LONGEST = 400
_SURVIVOR = re.compile(r"(\d{1,10})(?: \((.{0,300})\))?")
_STARTS: dict[str, type[StartError]] = {
    kind.code: kind
    for kind in (
        StartError, ProgramNotFoundError, NotExecutableError, WorkingDirectoryError,
        ResourceError, ReadyTimeoutError, ExitedBeforeReadyError, StartInterruptedError,
    )
}  # fmt: skip


_STEPS: dict[type[StartError], str] = {  # where a class alone tells it
    WorkingDirectoryError: "directory",
    ReadyTimeoutError: "ready",
    ExitedBeforeReadyError: "ready",
}


def revived(failed: Failed, message: Request) -> ProcVMError:
    """Return the error that the other side met, as its own class.

    The envelope carries a code, a sentence and perhaps a vm_id and a field; what else the error
    knew is read back from its sentence. Where that loses something, a note has the whole.
    """
    config = message.config if isinstance(message, AllocateVM) else None
    asked = message.vm_id if isinstance(message, (RemoveVM, ResetVM)) else ""
    try:
        error = _made(failed, config, config.name if config else asked)
    except (ValueError, IndexError):  # another version's words
        error = RemoteError(failed.detail or failed.message, failed.code)
    if failed.detail and str(error) != failed.detail:
        error.add_note(f"The other side said: {failed.detail}")
    return error


def _made(failed: Failed, config: VMConfig | None, asked: str) -> ProcVMError:
    if failed.code in _STARTS:
        return _start(_STARTS[failed.code], failed, config, asked)
    if failed.code in _MAKERS:
        return _MAKERS[failed.code](failed, asked)
    if failed.code == ProcVMError.code:
        return ProcVMError(failed.detail)
    code = "" if failed.code == RemoteError.code else failed.code
    return RemoteError(failed.detail or failed.message, code)


def _literal(text: str) -> Any:
    """Return what a repr was made of; ValueError where it was cut or is of no plain value."""
    if len(text) > _LONGEST:
        raise ValueError(text[:80])
    try:
        return ast.literal_eval(text)
    except (SyntaxError, TypeError, MemoryError, RecursionError) as e:
        raise ValueError(text[:80]) from e


def _name(text: str, asked: str) -> str:
    """Return the name that begins a sentence, as in ``VM 'web' ...``."""
    try:
        return str(_literal(text.removeprefix("VM ")))
    except ValueError:
        return asked


def _start(
    kind: type[StartError], failed: Failed, config: VMConfig | None, asked: str
) -> StartError:
    told, _, _ = failed.detail.partition("\nIts last output:")
    who, _, why = told.partition(" did not start: ")
    argv = config.command if config else ()
    directory = ""
    if why.endswith("]") and " [tried " in why:
        why, _, tried = why.rpartition(" [tried ")
        words, _, where = tried[:-1].rpartition(" in ")
        try:
            argv, directory = tuple(shlex.split(_literal(words))), _literal(where)
        except ValueError:
            pass  # cut: the argv is what was asked for
    step = _STEPS.get(kind, "spawn")
    return kind(why, _name(who, asked), failed.vm_id, argv, directory, step=step)


def _config(failed: Failed, _: str) -> ConfigError:
    field = failed.field or ""
    rest = failed.detail.removeprefix(f"{field}=")
    at = rest.find(": ")
    while 0 <= at <= _LONGEST:
        try:
            return ConfigError(field, _literal(rest[:at]), rest[at + 2 :])
        except ValueError:
            at = rest.find(": ", at + 1)  # it was inside the value
    return ConfigError(field, None, rest.partition(": ")[2] or rest)


def _placed(kind: type[ProtocolError | PolicyError]) -> Callable[[Failed, str], ProcVMError]:
    def make(failed: Failed, _: str) -> ProcVMError:
        path, _, why = failed.detail.partition(": ")
        return kind(failed.field or path, why)

    return make


def _stop(failed: Failed, asked: str) -> StopError:
    who, _, rest = failed.detail.partition(" could not be stopped: ")
    alive = rest.partition(" after SIGKILL: ")[2].rpartition("; it ends")[0]
    found = [_SURVIVOR.fullmatch(one) for one in alive.split(", ")]
    survivors = tuple(Survivor(int(one[1]), one[2] or "") for one in found if one)
    return StopError(failed.vm_id or "", _name(who, asked), survivors)


def _wait_timeout(failed: Failed, asked: str) -> WaitTimeoutError:
    head, _, waited = failed.detail.rpartition(" after waiting ")
    who, _, state = head.rpartition(" is in state ")
    seconds, _, awaited = waited.partition(" s")
    awaited = awaited.removeprefix(" for ")
    return WaitTimeoutError(failed.vm_id or "", _name(who, asked), float(seconds), state, awaited)


def _unreachable(failed: Failed, asked: str) -> UnreachableStateError:
    head, _, why = failed.detail.partition("; what is waited for does not come: ")
    who, _, state = head.rpartition(" is in state ")
    why = why.partition("\nIts last output:")[0]
    return UnreachableStateError(failed.vm_id or "", _name(who, asked), state, why)


def _not_found(failed: Failed, asked: str) -> VMNotFoundError:
    who, leaving, _ = failed.detail.partition(" is being taken away; ")
    if leaving:
        return VMNotFoundError(_name(who, asked), is_leaving=True)
    told = failed.detail.removeprefix("there is no VM ").rpartition("; list()")[0]
    told, _, gone = told.partition(" any more: ")
    return VMNotFoundError(_name(told, asked), _name(gone.removesuffix(" was removed"), ""))


def _duplicate(failed: Failed, asked: str) -> DuplicateNameError:
    told, leaving, _ = failed.detail.removeprefix("a VM named ").partition(
        " is being taken away; "
    )
    return DuplicateNameError(_name(told.rpartition(" exists; ")[0] or told, asked), bool(leaving))


def _closed(failed: Failed, _: str) -> ManagerClosedError:
    verb, _, _ = failed.detail.partition(": ")
    return ManagerClosedError("" if verb == "this" else verb)


def _forked(failed: Failed, _: str) -> ForkedManagerError:
    return ForkedManagerError(int(failed.detail.partition(" process ")[2].partition(";")[0]))


def _answer_timeout(failed: Failed, _: str) -> AnswerTimeoutError:
    verb, _, rest = failed.detail.partition(": no answer within ")
    return AnswerTimeoutError(verb, float(rest.partition(" s;")[0]))


_MAKERS: dict[str, Callable[[Failed, str], ProcVMError]] = {
    AnswerTimeoutError.code: _answer_timeout,
    ConfigError.code: _config,
    DuplicateNameError.code: _duplicate,
    ForkedManagerError.code: _forked,
    ManagerClosedError.code: _closed,
    PolicyError.code: _placed(PolicyError),
    ProtocolError.code: _placed(ProtocolError),
    StopError.code: _stop,
    UnreachableStateError.code: _unreachable,
    VMNotFoundError.code: _not_found,
    WaitTimeoutError.code: _wait_timeout,
}
