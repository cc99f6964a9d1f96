"""A history as lanes of time: the value that ``manager.timeline()`` returns."""

from __future__ import annotations

from typing import Any, NamedTuple

import attrs

__all__ = ["Span", "Timeline"]


class Span(NamedTuple):
    """A stretch of time in which a VM was in one state.

    Attributes:
        vm_id: Which VM.
        name: Its name.
        state: The state; ``'removed'`` lasts no time and ends the lane.
        generation: The attempt to start that it belongs to.
        restarts: Restarts by the policy until then.
        start: When it began, as a Unix time.
        end: When it ended, or until when it is known.
        is_open: Whether it went on when the timeline was made.
        healthy: Whether the VM was as it should be.
        exit: How the program ended at the end of this stretch; None when it did not.
        reason: One sentence, for people.
    """

    vm_id: str
    name: str
    state: str
    generation: int
    restarts: int
    start: float
    end: float
    is_open: bool
    healthy: bool
    exit: str | None
    reason: str


@attrs.frozen(repr=False)
class Timeline:
    """What happened, drawn as one lane for each VM, in order of allocation.

    A notebook shows it as SVG, which needs no library and stays in a saved notebook; ``to_svg``
    is the same for a file.

    Attributes:
        spans: The stretches, lane by lane, each lane in order of time.
        forgotten: How many events the manager's history does not keep any more: what they told,
            lanes of VMs long gone say, is missing.
    """

    spans: tuple[Span, ...] = ()
    forgotten: int = 0

    @property
    def start(self) -> float:
        """When the first stretch begins, as a Unix time; 0 when there is none."""
        return min((span.start for span in self.spans), default=0.0)

    @property
    def end(self) -> float:
        """When the last stretch ends, as a Unix time; 0 when there is none."""
        return max((span.end for span in self.spans), default=0.0)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the stretches as plain dicts, one row each, for any plotting library."""
        return [span._asdict() for span in self.spans]

    def to_svg(self) -> str:
        """Return the drawing as an SVG file's text, in the dark and in the light, for UTF-8."""
        return self._drawn(alone=True)

    def __repr__(self) -> str:
        """Say how much it shows."""
        if not self.spans and not self.forgotten:
            return "<Timeline of no VM yet>"
        lanes = len({span.vm_id for span in self.spans})
        vms = "1 VM" if lanes == 1 else f"{lanes} VMs"
        missing = f", {self.forgotten} events forgotten" if self.forgotten else ""
        return f"<Timeline of {vms} over {self.end - self.start:.3f} s{missing}>"

    def _drawn(self, *, alone: bool) -> str:
        from ._svg import timeline_svg  # noqa: PLC0415 - who wants the rows alone draws nothing

        return timeline_svg(self.spans, self.start, self.end, self.forgotten, alone=alone)

    def _repr_svg_(self) -> str:
        return self.to_svg()

    def _repr_html_(self) -> str:
        return self._drawn(alone=False)
