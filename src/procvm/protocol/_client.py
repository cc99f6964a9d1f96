"""Client: the five verbs, spoken to a Dispatcher over any transport."""

from __future__ import annotations

import builtins
import contextvars
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..config import VMConfig, config_from
from ..errors import AnswerTimeoutError, ConfigError, ProcVMError, ProtocolError, RemoteError
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
from ._revived import revived

__all__ = ["Client"]

T = TypeVar("T")


class Client:
    """The five verbs of a manager that is elsewhere.

    Args:
        send: Carries a request and returns its response, both plain dicts; what it raises
            goes through.
        dialect: That of the Dispatcher at the other end.
        timeout: Seconds to wait for an answer, then AnswerTimeoutError; None: as long as ``send``
            does. With it ``send`` runs in a thread of its own and is left there when time is up,
            and what it then returns is dropped: a transport that is a stream is to be closed.

    Every verb raises RemoteError when the other side failed, in the extended dialect the error's
    own class, and ProtocolError when what came back is no answer, or is to another request.
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any]], Any],
        *,
        dialect: Dialect = "documented",
        timeout: float | None = None,
    ) -> None:
        if timeout is not None and (
            type(timeout) not in (int, float) or not math.isfinite(timeout) or timeout <= 0
        ):
            raise ConfigError("timeout", timeout, "must be a finite number of seconds above 0")
        if not callable(send):
            raise ConfigError(
                "send", send, "must be a function of a request that returns its answer"
            )
        self._send = send
        self._timeout = timeout
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

    def remove(self, vm: str | VMInfo) -> None:
        """Take a VM away, by vm_id, name, or what ``list`` told of it."""
        self._ask(RemoveVM(_id_of(vm), time.time()), Succeeded)

    def reset(self, vm: str | VMInfo) -> None:
        """Start a VM anew, by vm_id, name, or what ``list`` told of it."""
        self._ask(ResetVM(_id_of(vm), time.time()), Succeeded)

    def health(self) -> HealthReport:
        """Return how the VMs are; the envelope carries the status alone, so total is 0."""
        return HealthReport(self._ask(GetHealth(time.time()), HealthResult).health, 0)

    def list(self, *, usage: bool = False) -> builtins.list[VMInfo]:
        """Return which VMs there are; with ``usage``, and what each tree uses now.

        Raises:
            ProtocolError: The documented dialect carries no usage; nothing was sent.
        """
        return builtins.list(self._ask(GetVMs(time.time(), usage), VMsResult).process)

    def _ask(self, message: Request, kind: type[T]) -> T:
        request = encode_request(message, dialect=self._dialect)
        if self._timeout is None:
            answer = self._send(request)
        else:
            answer = _sent(self._send, request, self._timeout)
        response = decode_response(answer)
        _check_echo(response.request, message)
        result = response.result
        if isinstance(result, Failed):
            raise self._error(result, message)
        if not isinstance(result, kind):
            raise ProtocolError("result", f"is no answer to {message.method}")
        return result

    def _error(self, failed: Failed, message: Request) -> ProcVMError:
        if not self._extended:
            return RemoteError(failed.message)
        error = revived(failed, message)
        if not failed.code:
            error.add_note(
                "The answer says no more: its Dispatcher speaks the documented dialect, it seems"
            )
        return error


def _id_of(vm: str | VMInfo) -> str:
    """Return what a request names; whatever else it is, is refused where that is made."""
    return vm.vm_id if isinstance(vm, VMInfo) else vm


def _check_echo(request: Any, message: Request) -> None:
    """Refuse the late answer to an earlier request; what echoes nothing cannot be checked."""
    for key in ("method", "timestamp"):
        if isinstance(request, dict) and request.get(key, getattr(message, key)) != getattr(
            message, key
        ):
            raise ProtocolError(f"request.{key}", "is of another request than the one sent")


def _sent(send: Callable[[dict[str, Any]], Any], request: dict[str, Any], seconds: float) -> Any:
    """Send in a thread and wait for it that long."""
    answers: list[Any] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            answers.append(context.run(send, request))
        except BaseException as e:  # noqa: BLE001 - it goes through, in the caller's thread
            errors.append(e)
        finally:
            done.set()

    context = contextvars.copy_context()
    threading.Thread(target=run, name="procvm-client", daemon=True).start()
    if not done.wait(min(seconds, threading.TIMEOUT_MAX)):
        raise AnswerTimeoutError(request["method"], seconds)
    if errors:
        raise errors.pop()
    return answers[0]
