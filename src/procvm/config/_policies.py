"""What may be said beside the program: restarts, stops, limits, logs."""

from __future__ import annotations

import math
import os
import signal as signals
from collections.abc import Iterable
from typing import Any, Literal

import attrs

from .._keywords import knows_keywords
from .._near import did_you_mean
from ..errors import ConfigError

__all__ = ["Limits", "LogPolicy", "RestartPolicy", "StopPolicy"]

_SIGNALS = frozenset(signals.valid_signals())
_LARGEST = 2**63 - 1  # what the kernel's limits and sizes can hold
_LAST_PROCESSOR = 2**16
_NICE = range(-20, 20)  # the kernel's
_WHENS = ("never", "on-failure", "always")


def _is_number(value: Any) -> bool:
    try:
        is_finite = isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False
    return is_finite and not isinstance(value, bool)


def not_negative(_: Any, attribute: Any, value: Any) -> None:
    """Refuse what is no finite number of at least 0."""
    if not _is_number(value) or value < 0:
        raise ConfigError(attribute.name, value, "must be a finite number, at least 0")


def _whole(least: int, *, optional: bool = False, of: str = "") -> Any:
    def check(_: Any, attribute: Any, value: Any) -> None:
        if value is None and optional:
            return
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            what = f" of {of}" if of else ""
            why = f"must be a whole number{what}, at least {least}"
            raise ConfigError(attribute.name, value, why)
        if value > _LARGEST:
            raise ConfigError(attribute.name, value, f"must be at most {_LARGEST}")

    return check


def _one_of(*words: str) -> Any:
    def check(_: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, str) or value not in words:
            raise ConfigError(attribute.name, value, f"must be one of {', '.join(words)}")

    return check


@knows_keywords(delay="initial", max_delay="maximum", max_restarts="limit", retries="limit")
@attrs.frozen
class RestartPolicy:
    """When a program that ended is started again: exponential back-off within a budget.

    Attributes:
        when: ``'never'``, ``'on-failure'`` or ``'always'``.
        initial: Seconds before the first restart.
        factor: Each further delay is this many times longer.
        maximum: No delay is longer, in seconds.
        jitter: Each delay is multiplied by a uniform 1 ± jitter, then capped.
        limit: More restarts than this within ``within`` seconds and the VM has failed; None:
            no limit.
        within: Seconds; after a life that long the delays begin anew.
    """

    when: Literal["never", "on-failure", "always"] = attrs.field(
        default="on-failure", validator=_one_of(*_WHENS)
    )
    initial: float = attrs.field(default=0.1, validator=not_negative, kw_only=True)
    factor: float = attrs.field(default=2.0, validator=not_negative, kw_only=True)
    maximum: float = attrs.field(default=30.0, validator=not_negative, kw_only=True)
    jitter: float = attrs.field(default=0.1, validator=not_negative, kw_only=True)
    limit: int | None = attrs.field(default=5, validator=_whole(0, optional=True), kw_only=True)
    within: float = attrs.field(default=60.0, validator=not_negative, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """Refuse what can never take effect."""
        if self.factor < 1:
            raise ConfigError("factor", self.factor, "must be at least 1; delays never shrink")
        if self.jitter > 1:
            raise ConfigError("jitter", self.jitter, "must be at most 1; a delay is not negative")
        if self.maximum < self.initial:
            raise ConfigError("maximum", self.maximum, f"is less than initial={self.initial:g}")
        if self.limit is not None and self.initial >= self.within:
            raise ConfigError(
                "initial",
                self.initial,
                f"is no less than within={self.within:g}: limit never counts",
            )


def signal_number(given: int | str) -> int:
    """Return a signal's number from a number, a signal or a name; ConfigError otherwise."""
    value: Any = given
    if isinstance(value, str):
        number = getattr(signals, value if value.startswith("SIG") else f"SIG{value}", None)
        if isinstance(number, signals.Signals):
            return int(number)
    elif isinstance(value, int) and not isinstance(value, bool) and value in _SIGNALS:
        return int(value)
    asked = [value.upper()] if isinstance(value, str) else []
    near = did_you_mean(asked, [name for s in signals.Signals for name in (s.name, s.name[3:])])
    why = "must be a signal: its number, or its name as 'SIGTERM'"
    raise ConfigError("signal", value, "; ".join([why, near] if near else [why]))


@knows_keywords(timeout="grace")
@attrs.frozen
class StopPolicy:
    """How a program is asked to end.

    Attributes:
        signal: What asks it.
        grace: Seconds for the whole of it; then what still lives is killed.
        to: ``'main'``: the main process first, then what it leaves; ``'tree'``: all at once.
    """

    signal: int = attrs.field(default=int(signals.SIGTERM), converter=signal_number)
    grace: float = attrs.field(default=10.0, validator=not_negative)
    to: Literal["main", "tree"] = attrs.field(default="main", validator=_one_of("main", "tree"))


def _processors(given: Iterable[int] | None) -> tuple[int, ...] | None:
    value: Any = given
    if value is None:
        return None
    try:
        numbers = tuple(sorted(set(value)))
    except TypeError:
        numbers = ()
    if not numbers or not all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n < _LAST_PROCESSOR
        for n in numbers
    ):
        raise ConfigError("cpu_affinity", value, "must be processor numbers, at least one")
    return numbers


def _niceness(_: Any, attribute: Any, value: Any) -> None:
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int) or value not in _NICE
    ):
        raise ConfigError(attribute.name, value, "must be a whole number, -20 to 19")


@knows_keywords(cpu="cpu_time", time="cpu_time", files="open_files")
@attrs.frozen(kw_only=True)
class Limits:
    """Limits in force before the program's first instruction; None leaves the host's.

    Attributes:
        memory: Address space, bytes.
        cpu_time: Processor time, seconds; then SIGXCPU, and SIGKILL a second later.
        open_files: Descriptors.
        processes: Processes of its user.
        file_size: Bytes of one file; then SIGXFSZ, or an error where that is ignored.
        core: Bytes of a core dump.
        nice: Niceness, -20 to 19.
        cpu_affinity: Processors it may run on; the start fails when one of them cannot be had.
    """

    memory: int | None = attrs.field(
        default=None, validator=_whole(1, optional=True, of="bytes, 300 * 2**20 say")
    )
    cpu_time: int | None = attrs.field(
        default=None, validator=_whole(1, optional=True, of="seconds")
    )
    open_files: int | None = attrs.field(default=None, validator=_whole(3, optional=True))
    processes: int | None = attrs.field(default=None, validator=_whole(1, optional=True))
    file_size: int | None = attrs.field(
        default=None, validator=_whole(0, optional=True, of="bytes")
    )
    core: int | None = attrs.field(default=None, validator=_whole(0, optional=True, of="bytes"))
    nice: int | None = attrs.field(default=None, validator=_niceness)
    cpu_affinity: tuple[int, ...] | None = attrs.field(default=None, converter=_processors)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is limited."""
        return self == _UNLIMITED


_UNLIMITED = Limits()


def _log_file(given: str | os.PathLike[str] | None) -> str | None:
    value: Any = given
    if value is None:
        return None
    try:
        text = os.fspath(value)
    except TypeError:
        text = None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigError("file", value, "must be a path, not empty and without NUL")
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as e:
        raise ConfigError("file", "...", "holds a lone surrogate, which is no character") from e
    return text


def _keep(policy: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, (str, os.PathLike)):
        why = f"must be a whole number of bytes; a file is file={os.fspath(value)!r}"
        raise ConfigError("keep", value, why)
    _whole(0)(policy, attribute, value)


@knows_keywords()
@attrs.frozen
class LogPolicy:
    """What is kept of a program's output.

    Attributes:
        keep: Bytes kept in memory, for the present and for the previous generation each; 0: none,
            so that ``logs``, ``follow`` and errors have nothing to show.
        file: A file that everything is appended to as well, relative to the host's directory;
            for its owner's eyes alone, made anew when it is renamed or deleted meanwhile.
        rotate: Bytes after which the file is rotated, at the end of a line where there is one; 0:
            never.
        backups: How many rotated files are kept.
    """

    keep: int = attrs.field(default=2**20, validator=_keep)
    file: str | None = attrs.field(default=None, converter=_log_file)
    rotate: int = attrs.field(default=10 * 2**20, validator=_whole(0))
    backups: int = attrs.field(default=3, validator=_whole(0))
