"""Client: the five verbs, spoken to a Dispatcher over any transport."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..config import VMConfig, config_from
from ..errors import (
    ConfigError,
    DuplicateNameError,
    ExitedBeforeReadyError,
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
    VMNotFoundError,
    WorkingDirectoryError,
)  # fmt: skip
from ..values import HealthReport
from ._codec import Dialect, checked_dialect, decode_response, encode_request
from ._messages import (
    AllocateVM,
    Failed,
    GetHealth,
    GetVMs,
    HealthResult,
    RemoveVM,
    Request,
    ResetVM,
    Succeeded,
    VMInfo,
    VMsResult,
)  # fmt: skip

__all__ = ["Client"]

T = TypeVar("T")

_STARTS: dict[str, type[StartError]] = {
    kind.code: kind
    for kind in (
        StartError, ProgramNotFoundError, NotExecutableError, WorkingDirectoryError,
        ResourceError, ReadyTimeoutError, ExitedBeforeReadyError, StartInterruptedError,
    )
}  # fmt: skip


class Client:
    """The five verbs of a manager that is elsewhere.

    Args:
        send: Carries a request and returns its response, both plain dicts; what it raises
            goes through.
        dialect: That of the Dispatcher at the other end.
    """

    def __init__(
        self, send: Callable[[dict[str, Any]], Any], *, dialect: Dialect = "documented"
    ) -> None:
        self._send = send
        self._dialect: Dialect = dialect
        self._extended = checked_dialect(dialect)

    def allocate(self, config: VMConfig | Mapping[str, Any]) -> str:
        """Start a program and return its vm_id; its name where the dialect carries no vm_id.

        Raises:
            ProtocolError: The dialect cannot carry this configuration; nothing was sent.
            RemoteError: It failed; in the extended dialect the error's own class.
        """
        if not isinstance(config, VMConfig):
            config = config_from(config)
        result = self._ask(AllocateVM(config, time.time()), Succeeded)
        return result.vm_id or config.name

    def remove(self, vm: str) -> None:
        """Take a VM away, by vm_id or name."""
        self._ask(RemoveVM(vm, time.time()), Succeeded)

    def reset(self, vm: str) -> None:
        """Start a VM anew, by vm_id or name."""
        self._ask(ResetVM(vm, time.time()), Succeeded)

    def health(self) -> HealthReport:
        """Return how the VMs are; the envelope carries the status alone, so total is 0."""
        return HealthReport(self._ask(GetHealth(time.time()), HealthResult).health, 0)

    def list(self) -> builtins.list[VMInfo]:
        """Return which VMs there are."""
        return builtins.list(self._ask(GetVMs(time.time()), VMsResult).process)

    def _ask(self, message: Request, kind: type[T]) -> T:
        response = self._send(encode_request(message, dialect=self._dialect))
        result = decode_response(response).result
        if isinstance(result, Failed):
            raise _error(result, message) if self._extended else RemoteError(result.message)
        if not isinstance(result, kind):
            raise ProtocolError("result", f"is no answer to {message.method}")
        return result


def _error(failed: Failed, message: Request) -> ProcVMError:
    """Make the error of the other side anew, from what the envelope carries of it."""
    code, detail = failed.code, failed.detail
    config = message.config if isinstance(message, AllocateVM) else None
    asked = message.vm_id if isinstance(message, (RemoveVM, ResetVM)) else ""
    if code in _STARTS:
        name = config.name if config else asked
        why = detail.removeprefix(f"VM {name!r} did not start: ")
        argv = config.command if config else ()
        return _STARTS[code](why, name=name, vm_id=failed.vm_id, argv=argv)
    if code == ConfigError.code and failed.field:
        value = getattr(config, failed.field, None)
        prefix = str(ConfigError(failed.field, value, ""))
        return ConfigError(failed.field, value, detail.removeprefix(prefix))
    if code in (ProtocolError.code, PolicyError.code) and failed.field:
        placed: type[Any] = ProtocolError if code == ProtocolError.code else PolicyError
        error: ProcVMError = placed(failed.field, detail.removeprefix(f"{failed.field}: "))
        return error
    if code == VMNotFoundError.code and asked:
        return VMNotFoundError(asked)
    if code == DuplicateNameError.code and config:
        return DuplicateNameError(config.name)
    if code == ManagerClosedError.code:
        return ManagerClosedError(message.method)
    if code == StopError.code and failed.vm_id:
        return StopError(failed.vm_id, asked)
    return RemoteError(detail or failed.message, code)
