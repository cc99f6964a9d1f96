"""The messages as values: five requests and what is answered."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from ..config import VMConfig
from ..facts import Exit, Usage

__all__ = [
    "AllocateVM", "Failed", "GetHealth", "GetVMs", "HealthResult", "RemoveVM", "Request",
    "ResetVM", "Response", "Result", "Succeeded", "VMInfo", "VMsResult",
]  # fmt: skip


@attrs.frozen
class AllocateVM:
    """Start a VM."""

    method: ClassVar[str] = "allocate_vm"
    success: ClassVar[str] = "process started successfully"
    failure: ClassVar[str] = "process failed to start"
    config: VMConfig
    timestamp: float


@attrs.frozen
class RemoveVM:
    """Take a VM away; ``vm_id`` may be its name."""

    method: ClassVar[str] = "remove_vm"
    success: ClassVar[str] = "process kill successfully"
    failure: ClassVar[str] = "process failed to be killed"
    vm_id: str
    timestamp: float


@attrs.frozen
class ResetVM:
    """Start a VM anew; ``vm_id`` may be its name."""

    method: ClassVar[str] = "reset_vm"
    success: ClassVar[str] = "process reset successfully"
    failure: ClassVar[str] = "process failed to be reset"
    vm_id: str
    timestamp: float


@attrs.frozen
class GetHealth:
    """Ask how the VMs are."""

    method: ClassVar[str] = "get_health"
    failure: ClassVar[str] = "unable to get health"
    timestamp: float


@attrs.frozen
class GetVMs:
    """Ask which VMs there are; the document repeats the failure of get_health here.

    ``usage``: and what each uses now, which is measured then; in the extended dialect alone.
    """

    method: ClassVar[str] = "get_vms"
    failure: ClassVar[str] = "unable to get health"
    timestamp: float
    usage: bool = False


Request = AllocateVM | RemoveVM | ResetVM | GetHealth | GetVMs


@attrs.frozen
class VMInfo:
    """What is told of one VM: no environment, which holds secrets.

    Attributes:
        vm_id: Its identity.
        name: Its name.
        path: Where it runs, or what.
        command: Its argv as one string, quoted for a POSIX shell.
        state: Where it is in its life.
        pid: Its main process, None unless that lives.
        generation: Counts every attempt to start.
        restarts: Restarts by the policy.
        healthy: Whether it is as it should be.
        started_at: When its program began to run, as a Unix time.
        exit: How its program ended last.
        usage: What its tree uses, where that was asked for; never in the documented dialect.
    """

    vm_id: str
    name: str
    path: str
    command: str
    state: str
    pid: int | None
    generation: int
    restarts: int
    healthy: bool
    started_at: float | None
    exit: Exit | None
    usage: Usage | None = None


@attrs.frozen
class Succeeded:
    """A VM was started, taken away or started anew; ``vm_id`` in the extended dialect alone."""

    message: str
    vm_id: str | None = None


@attrs.frozen
class HealthResult:
    """How the VMs are: ``'good'`` or ``'bad'``."""

    health: str


@attrs.frozen
class VMsResult:
    """Which VMs there are."""

    process: tuple[VMInfo, ...]


@attrs.frozen
class Failed:
    """Nothing came of it.

    Attributes:
        message: The documented sentence.
        code: What went wrong, kebab-case; empty in the documented dialect, as all below.
        detail: The error's own sentence.
        vm_id: The VM it speaks of.
        field: The field it speaks of.
    """

    message: str
    code: str = ""
    detail: str = ""
    vm_id: str | None = None
    field: str | None = None


Result = Succeeded | HealthResult | VMsResult | Failed


@attrs.frozen
class Response:
    """An answer: the request as it came, and its result."""

    request: Any
    result: Result
