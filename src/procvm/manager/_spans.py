"""Events and today's snapshots as stretches of time; a pure function."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..display import Span, Timeline
from ..values import VM, VMEvent

__all__ = ["timeline_of"]


def timeline_of(
    events: Iterable[VMEvent], alive: Sequence[VM], now: float, forgotten: int = 0
) -> Timeline:
    """Return what ``events`` and the VMs that are still there tell of the time until ``now``.

    Events that a bounded history has forgotten are made up for by ``since``, which every
    snapshot carries; how many those are is told. Wall clocks may be set back: no stretch ends
    before it began.
    """
    lanes: dict[str, _Lane] = {}
    for event in events:
        lane = lanes.setdefault(event.vm.vm_id, _Lane())
        lane.add(event.vm, event.at, has_exited=event.kind == "exited")
    for vm in alive:
        lane = lanes.setdefault(vm.vm_id, _Lane())
        lane.add(vm, now, has_exited=False)
        lane.go_on(now)
    numbers = {vm.vm_id: number for number, vm in enumerate(alive)}  # for one moment's

    def age(vm_id: str) -> tuple[float, int]:
        return lanes[vm_id].created_at, numbers.get(vm_id, -1)

    spans = (span for vm_id in sorted(lanes, key=age) for span in lanes[vm_id].spans)
    return Timeline(tuple(spans), forgotten)


class _Lane:
    """The stretches of one VM."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.created_at = 0.0

    def add(self, vm: VM, at: float, *, has_exited: bool) -> None:
        """Note a snapshot; a stretch ends at a change of state or health, or at an exit."""
        state = str(vm.state)
        if not self.spans:
            self.created_at = vm.created_at
            self._begin(vm, min(vm.since, at))
            return
        last = self.spans[-1]
        is_other = (last.state, last.generation) != (state, vm.generation)
        if not is_other and last.healthy == vm.healthy and not has_exited:
            self.spans[-1] = last._replace(reason=vm.reason, end=max(last.end, at))
            return
        start = max(vm.since if is_other and vm.since <= at else at, last.start)
        words = str(vm.exit) if has_exited and vm.exit is not None else None
        self.spans[-1] = last._replace(end=start, exit=words)
        self._begin(vm, start)

    def _begin(self, vm: VM, start: float) -> None:
        span = Span(
            vm.vm_id, vm.name, str(vm.state), vm.generation, vm.restarts, start, start,
            is_open=False, healthy=vm.healthy, exit=None, reason=vm.reason,
        )  # fmt: skip
        self.spans.append(span)

    def go_on(self, now: float) -> None:
        """Let the last stretch go on until ``now``."""
        last = self.spans[-1]
        self.spans[-1] = last._replace(end=max(last.start, now), is_open=True)
