"""Floor 3, what users are told: snapshots that never change under their reader."""

from __future__ import annotations

from typing import Any

import attrs

from .config import VMConfig
from .facts import Exit, InTerminal, VMState, plain

__all__ = ["VM", "HealthReport", "VMEvent"]


@attrs.frozen(slots=False)  # made in half the time
class VM(InTerminal):
    """A snapshot of one VM; ``manager.get(vm)`` gives today's.

    Attributes:
        vm_id: Its identity: 128 bits as hex.
        name: Its name, unique among the manager's VMs.
        state: Where it is in its life.
        since: When it entered this state, as a Unix time.
        pid: Its main process, None unless that lives.
        generation: Counts every attempt to start, 1 at first.
        restarts: Restarts by the policy, since allocate or reset.
        created_at: When it was allocated, as a Unix time.
        started_at: When its program began to run, as a Unix time; None before.
        exit: How its program ended last; None before the first end.
        healthy: Whether it is as it should be.
        reason: One sentence, for people.
        config: What was asked for.
    """

    vm_id: str
    name: str
    state: VMState
    since: float
    pid: int | None
    generation: int
    restarts: int
    created_at: float
    started_at: float | None
    exit: Exit | None
    healthy: bool
    reason: str
    config: VMConfig = attrs.field(repr=False)

    def __str__(self) -> str:
        """Say it in a sentence: 'web is running as process 4711: ready: ...'."""
        text = f"{self.name} is {self.state}"
        if self.pid is not None:
            text += f" as process {self.pid}"
        return text if self.reason in ("", self.state) else f"{text}: {self.reason}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data; the configuration, which may hold secrets, stays out."""
        return {
            a.name: plain(getattr(self, a.name)) for a in attrs.fields(VM) if a.name != "config"
        }

    def _repr_html_(self) -> str:
        """Show it in a notebook, without the configuration, which may hold secrets."""
        from .display import vms_html  # noqa: PLC0415 - only a notebook needs it

        return vms_html([shown(self)])


@attrs.frozen
class HealthReport(InTerminal):
    """How a manager's VMs are; true when good.

    Attributes:
        status: ``'good'`` when every VM is healthy, else ``'bad'``.
        total: Number of VMs.
        unhealthy: Those that are not healthy.
        degraded: Promises that are weaker here; they never change the status.
    """

    status: str
    total: int
    unhealthy: tuple[VM, ...] = ()
    degraded: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether all is good."""
        return self.status == "good"

    def __str__(self) -> str:
        """Say it in a sentence, and one for each VM that is not healthy."""
        total = "1 VM" if self.total == 1 else f"{self.total} VMs"
        if self.status == "good":
            return f"good: {total}" if self.total else "good"
        if not self.total:  # a client was told no more
            return self.status
        words = "; ".join(map(str, self.unhealthy))
        return f"{self.status}: {len(self.unhealthy)} of {total}: {words}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, the VMs as their own ``as_dict`` gives them."""
        unhealthy = [vm.as_dict() for vm in self.unhealthy]
        return {**plain(attrs.evolve(self, unhealthy=())), "unhealthy": unhealthy}

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from .display import health_html  # noqa: PLC0415 - only a notebook needs it

        unhealthy = [shown(vm) for vm in self.unhealthy]
        return health_html(self.status, self.total, unhealthy, self.degraded)


@attrs.frozen(slots=False)  # as above
class VMEvent(InTerminal):
    """Something that happened to a VM.

    Attributes:
        kind: allocated, started, ready, status (what the program says of itself), unhealthy,
            recovered, exited, backoff, stopping, failed, removed or warning.
        vm: The snapshot after it.
        at: When, as a Unix time.
        detail: One sentence, for people.
    """

    kind: str
    vm: VM
    at: float
    detail: str = ""

    @property
    def name(self) -> str:
        """The VM's name."""
        return self.vm.name

    def __str__(self) -> str:
        """Say it in a line: 'web: exited - the program exited with code 3'."""
        return f"{self.vm.name}: {self.kind}" + (f" - {self.detail}" if self.detail else "")

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data; the configuration, which may hold secrets, stays out."""
        told = {"kind": self.kind, "at": self.at, "detail": self.detail}
        return {**told, "vm": self.vm.as_dict()}

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from .display import events_html  # noqa: PLC0415 - only a notebook needs it

        return events_html([told(self)])


def shown(vm: VM) -> dict[str, Any]:
    """Return a VM as the plain row that is displayed; its exit in words, no configuration."""
    return {
        "vm_id": vm.vm_id, "name": vm.name, "state": str(vm.state), "healthy": vm.healthy,
        "pid": vm.pid, "generation": vm.generation, "restarts": vm.restarts, "since": vm.since,
        "exit": None if vm.exit is None else str(vm.exit), "reason": vm.reason,
    }  # fmt: skip


def told(event: VMEvent) -> dict[str, Any]:
    """Return an event as a notebook shows it."""
    vm = shown(event.vm)
    return {"kind": event.kind, "at": event.at, "detail": event.detail, "vm": vm}
