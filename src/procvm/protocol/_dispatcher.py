"""Dispatcher: a request in, a manager's verb, an answer out; it never raises."""

from __future__ import annotations

import builtins
import contextlib
import inspect
import logging
import shlex
from typing import Any, Protocol

import attrs

from ..config import VMConfig
from ..errors import ConfigError, PolicyError, ProcVMError, ProtocolError, VMNotFoundError
from ..facts import Usage
from ..values import VM, HealthReport
from ._codec import Dialect, checked_dialect, decode_copy, encode_result, method_of
from ._guard import Guard
from ._messages import (
    AllocateVM,
    Failed,
    GetHealth,
    GetVMs,
    HealthResult,
    RemoveVM,
    Request,
    ResetVM,
    Result,
    Succeeded,
    VMInfo,
    VMsResult,
)  # fmt: skip
from ._plain import PlainCopy, plain_text
from ._policy import Policy

__all__ = ["Dispatcher"]

_log = logging.getLogger("procvm")


class Verbs(Protocol):
    """What a Dispatcher needs of a manager."""

    def allocate(self, config: VMConfig, /) -> VM:
        """Start a program."""

    def remove(self, vm: str, /) -> VM:
        """Take a VM away."""

    def reset(self, vm: str, /) -> VM:
        """Start a VM anew."""

    def health(self) -> HealthReport:
        """Tell how the VMs are."""

    def list(self) -> builtins.list[VM]:
        """Tell which VMs there are."""

    def usage(self, vm: VM, /) -> Usage:
        """Tell what a VM's tree uses."""


class Dispatcher:
    """Answers requests with a manager; from any thread, side by side.

    Args:
        manager: What carries them out.
        dialect: ``'documented'``: exactly the documented keys and messages; ``'extended'``
            adds ``vm_id`` and ``error`` to results, more keys to a ``config``, and ``usage`` to
            ``get_vms``.
        policy: What requests may do; None: everything. Who can send a request then can run
            any program as the host's user, so never open a socket without a policy.

    What failed is told to the logger ``procvm`` at INFO, with its reason: the documented dialect
    tells whoever asked no more than that it failed.
    """

    def __init__(
        self, manager: Verbs, *, dialect: Dialect = "documented", policy: Policy | None = None
    ) -> None:
        if isinstance(manager, type):
            raise ConfigError("manager", manager, f"must be one: {manager.__name__}()")
        if inspect.iscoroutinefunction(getattr(type(manager), "allocate", None)):
            raise ConfigError(
                "manager", manager, "must be a VMManager: nobody awaits its verbs here"
            )
        verbs = getattr(type(manager), "allocate", None), getattr(type(manager), "__getattr__", 0)
        if not any(map(callable, verbs)):
            raise ConfigError("manager", manager, "must be a VMManager")
        self._manager = manager
        self._extended = checked_dialect(dialect)
        if policy is not None and not isinstance(policy, Policy):
            raise ConfigError("policy", policy, "must be a Policy or None")
        self._guard = None if policy is None else Guard(policy)

    def handle(self, request: Any) -> dict[str, Any]:
        """Carry out one request and answer it; never raises, and the answer can be serialised.

        ``request`` in the answer is the request as it came: a copy, each value that is no
        plain data replaced where it stands by a short string. Only where the caller left no
        stack or memory to work with is the request not echoed.
        """
        try:
            return self._answer(request)
        except (RecursionError, MemoryError):  # a literal: there may be no room for one more call
            return {
                "request": "<not copied>",
                "result": {"status": "failed", "message": "too little stack or memory is left"},
            }

    def _answer(self, request: Any) -> dict[str, Any]:
        copy = PlainCopy(request)  # once: others may change the request meanwhile
        try:
            result = self._carry_out(copy)
        except Exception as e:  # noqa: BLE001 - whatever failed, the answer is a response
            result = _failed(method_of(copy.value), e)
            _tell(copy.value, result)
        return {"request": copy.value, "result": encode_result(result, extended=self._extended)}

    def _carry_out(self, copy: PlainCopy) -> Result:
        guard = self._guard
        if guard is None:
            return self._call(decode_copy(copy, extended=self._extended))
        guard.look(copy.value)
        message = guard.check(asked := decode_copy(copy, extended=self._extended))
        if isinstance(message, AllocateVM):
            guard.reserve(self._listed)
            vm = None
            try:
                guard.remember(asked)
                vm = self._manager.allocate(message.config)
            finally:
                guard.allocated(None if vm is None else vm.vm_id, message.config)
            return Succeeded(message.success, vm.vm_id)
        if isinstance(message, (GetHealth, GetVMs)):
            return self._call(message) if guard.sees_all else self._seen(message, guard)
        vm_id = guard.own(message.vm_id, self._manager.list)
        if isinstance(message, ResetVM):
            guard.check_again(vm_id)
        guard.remember(asked, is_refused=guard.is_gone(vm_id))
        result = self._call(type(message)(vm_id, message.timestamp))
        if isinstance(message, RemoveVM):
            guard.removed(vm_id)
        return result

    def _seen(self, message: GetHealth | GetVMs, guard: Guard) -> Result:
        vms = guard.visible(self._manager.list())
        if isinstance(message, GetVMs):
            return self._told(message, vms)
        return HealthResult("good" if all(vm.healthy for vm in vms) else "bad")

    def _listed(self) -> set[str]:
        return {vm.vm_id for vm in self._manager.list()}

    def _call(self, message: Request) -> Result:
        manager = self._manager
        if isinstance(message, ResetVM):
            manager.reset(message.vm_id)
        elif isinstance(message, RemoveVM):
            manager.remove(message.vm_id)
        elif isinstance(message, AllocateVM):
            return Succeeded(message.success, manager.allocate(message.config).vm_id)
        elif isinstance(message, GetVMs):
            return self._told(message, manager.list())
        else:
            return HealthResult(manager.health().status)
        return Succeeded(message.success)

    def _told(self, message: GetVMs, vms: list[VM]) -> VMsResult:
        if not message.usage:
            return VMsResult(tuple(map(_info, vms)))
        found = []
        for vm in vms:
            try:
                found.append(_info(vm, self._manager.usage(vm)))
            except VMNotFoundError:
                found.append(_info(vm))  # it was taken away meanwhile
        return VMsResult(tuple(found))


def _info(vm: VM, usage: Usage | None = None) -> VMInfo:
    return VMInfo(
        vm_id=vm.vm_id,
        name=vm.name,
        path=vm.config.path,
        command=shlex.join(vm.config.command),
        state=vm.state.value,
        pid=vm.pid,
        generation=vm.generation,
        restarts=vm.restarts,
        healthy=vm.healthy,
        started_at=vm.started_at,
        exit=vm.exit,
        usage=usage,
    )


def _tell(request: Any, failed: Failed) -> None:
    """Log what failed and why; a handler of the host's that raises is not to end this."""
    method = getattr(method_of(request), "method", "a request")
    with contextlib.suppress(Exception):
        _log.info(
            "%s refused or failed: %s: %s", method, failed.code, plain_text(failed.detail),
            extra={"code": failed.code, "vm_id": failed.vm_id},
        )  # fmt: skip


def _failed(kind: type[Any] | None, error: Exception) -> Failed:
    """Say what failed: the documented sentence, and beside it the error's code and facts."""
    if isinstance(error, VMNotFoundError):  # names are for those who may list them
        error = attrs.evolve(error, near=())
    if isinstance(error, ProcVMError):
        code, detail = error.code, str(error)
    else:
        with contextlib.suppress(Exception):
            _log.error("a request could not be carried out", exc_info=error)
        code, detail = "internal", f"{type(error).__name__} in the manager; its log says more"
    if kind is not None:
        message = str(kind.failure)
    elif isinstance(error, ProtocolError):
        message = f"{error.path} {error.why}" if error.path == "request" else error.why
    else:
        message = detail
    if isinstance(error, ConfigError):
        field: Any = error.field
    else:
        field = error.path if isinstance(error, (ProtocolError, PolicyError)) else None
    vm_id = getattr(error, "vm_id", None)
    return Failed(
        message,
        code,
        detail,
        vm_id if isinstance(vm_id, str) and vm_id else None,
        field if isinstance(field, str) else None,
    )
