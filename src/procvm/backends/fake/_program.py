"""FakeProgram: what a program does in one life, as data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from ..._keywords import knows_keywords
from ...config import signal_number
from ...errors import ConfigError, StartError, shortened

__all__ = ["FakeProgram", "checked_code"]


def _is_time(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 <= value < float("inf")


def _time(_: Any, attribute: Any, value: Any) -> None:
    if not _is_time(value):
        raise ConfigError(attribute.name, value, "must be a finite number of seconds, at least 0")


def _optional_time(program: Any, attribute: Any, value: Any) -> None:
    if value is not None:
        _time(program, attribute, value)


def _items(field: str, value: Any, shape: str, *before: Any) -> tuple[tuple[Any, ...], ...]:
    """Return what ``value`` has, each as a tuple that begins with a time.

    A bare text is told how it would be said at once, after ``before``: it is no tuple of letters.
    """
    try:
        given = (value,) if isinstance(value, (str, bytes)) else tuple(value)
        bare = next((one for one in given if isinstance(one, (str, bytes))), None)
        made = () if bare is not None else tuple(tuple(one) for one in given)
    except TypeError as e:
        raise ConfigError(field, value, f"must be a sequence of {shape}") from e
    if bare is not None:
        like = ", ".join((*map(repr, before), shortened(bare, 40)))
        raise ConfigError(field, bare, f"must be {shape}, in a sequence: [({like})]")
    for item in made:
        if not item or not _is_time(item[0]):
            raise ConfigError(field, item, f"must be {shape}")
    return made


def _output(value: Sequence[tuple[float, str, str]]) -> tuple[tuple[float, str, str], ...]:
    made = _items("output", value, "(seconds, 'stdout' or 'stderr', text)", 0.0, "stdout")
    for item in made:
        if len(item) != 3 or item[1] not in ("stdout", "stderr") or not isinstance(item[2], str):  # noqa: PLR2004 - a triple
            raise ConfigError("output", item, "must be (seconds, 'stdout' or 'stderr', text)")
    return made


def _answers(value: Sequence[tuple[float, bool, str]]) -> tuple[tuple[float, bool, str], ...]:
    made = _items("probes", value, "(seconds, passes, words)", 0.0, True)
    for item in made:
        if len(item) != 3 or not isinstance(item[1], bool):  # noqa: PLR2004 - a triple
            raise ConfigError("probes", item, "must be (seconds, passes, words)")
    return made


def _statuses(value: Sequence[tuple[float, str]]) -> tuple[tuple[float, str], ...]:
    made = _items("status", value, "(seconds, text)", 0.0)
    for item in made:
        if len(item) != 2 or not isinstance(item[1], str):  # noqa: PLR2004 - a pair
            raise ConfigError("status", item, "must be (seconds, text)")
    return made


def _signals(numbers: Iterable[int | str]) -> frozenset[int]:
    if isinstance(numbers, str) or not isinstance(numbers, Iterable):
        raise ConfigError("ignores", numbers, "must be a set of signals, {signal.SIGTERM} say")
    return frozenset(_signal("ignores", number) for number in numbers)


def _signal(field: str, value: Any) -> int:
    try:
        return signal_number(value)
    except ConfigError as e:
        raise ConfigError(field, value, e.why) from None


def _start_error(_: Any, attribute: Any, value: Any) -> None:
    if value is not None and not isinstance(value, StartError):
        why = "must be a StartError, StartError('no such program') say, or None"
        raise ConfigError(attribute.name, value, why)


def _exit_code(_: Any, attribute: Any, value: Any) -> None:
    checked_code(attribute.name, value)


def checked_code(field: str, value: Any) -> None:
    """Raise unless it is an exit code."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 255:  # noqa: PLR2004 - a byte
        way = (
            f"; a signal is signal={value!r}" if field == "code" and isinstance(value, str) else ""
        )
        raise ConfigError(field, value, f"must be an exit code, 0 to 255{way}")


def _exit_signal(value: int | str | None) -> int | None:
    return None if value is None else _signal("exit_signal", value)


@knows_keywords()
@attrs.frozen(kw_only=True)
class FakeProgram:
    """What a program does in one life; every time is seconds of virtual time.

    Attributes:
        start_after: How long its start takes.
        start_error: How its start fails; None: it does not.
        ready_after: When its ready probe passes, after its start; ``probes.log`` passes by its
            output alone, and ``probes`` here decides instead.
        output: What it writes: (seconds after its start, stream, text).
        exit_after: When it ends by itself, after its start; None: never, and then the two that
            follow have no effect.
        exit_code: With what code.
        exit_signal: By what signal, instead of a code.
        ignores: Signals that it does not hear; SIGKILL is always heard.
        stop_takes: How long it takes to end when asked.
        probes: What its probes answer, the newest counts: (seconds, passes, words).
        status: What it says of itself, as STATUS= of sd_notify: (seconds, text).
    """

    start_after: float = attrs.field(default=0.0, validator=_time)
    start_error: StartError | None = attrs.field(default=None, validator=_start_error)
    ready_after: float = attrs.field(default=0.0, validator=_time)
    output: tuple[tuple[float, str, str], ...] = attrs.field(default=(), converter=_output)
    exit_after: float | None = attrs.field(default=None, validator=_optional_time)
    exit_code: int = attrs.field(default=0, validator=_exit_code)
    exit_signal: int | None = attrs.field(default=None, converter=_exit_signal)
    ignores: frozenset[int] = attrs.field(default=frozenset(), converter=_signals)
    stop_takes: float = attrs.field(default=0.0, validator=_time)
    probes: tuple[tuple[float, bool, str], ...] = attrs.field(default=(), converter=_answers)
    status: tuple[tuple[float, str], ...] = attrs.field(default=(), converter=_statuses)
