"""Floor 2, what every probe has; the kinds are in ``probes``, loaded when one is made."""

from __future__ import annotations

import math
from typing import Any, ClassVar, TypedDict

import attrs

from .errors import ConfigError

__all__ = ["Options", "Probe"]


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _seconds(probe: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, bool) or not _is_finite(value) or value <= 0:
        raise ConfigError(attribute.name, value, "must be a finite number of seconds above 0")


def _optional_seconds(probe: Any, attribute: Any, value: Any) -> None:
    if value is not None:
        _seconds(probe, attribute, value)


def _count(probe: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(attribute.name, value, "must be a whole number of at least 1")


@attrs.frozen(kw_only=True)
class Probe:
    """What every probe has.

    Attributes:
        interval: Seconds between two tries while a VM is running. As ``ready`` it is asked every
            few milliseconds at first, and ten times a second in the end.
        timeout: As ``ready`` the whole wait, 30 s when None; as ``alive`` one try, 1 s when None.
        failures: How many failures in a row make a VM unhealthy.
    """

    kind: ClassVar[str] = ""
    interval: float = attrs.field(default=1.0, validator=_seconds)
    timeout: float | None = attrs.field(default=None, validator=_optional_seconds)
    failures: int = attrs.field(default=3, validator=_count)

    @property
    def ready_timeout(self) -> float:
        """Seconds that a start may take."""
        return 30.0 if self.timeout is None else self.timeout

    @property
    def try_timeout(self) -> float:
        """Seconds that one try of a liveness probe may take."""
        return 1.0 if self.timeout is None else self.timeout

    @property
    def may_be_alive(self) -> bool:
        """Whether it can be asked again and again."""
        return True


class Options(TypedDict, total=False):
    """What may be said of every probe."""

    interval: float
    timeout: float | None
    failures: int
