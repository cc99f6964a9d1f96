"""Floor 0, the words of the house: facts about programs, as frozen values."""

from __future__ import annotations

import enum
import functools
from typing import Any

import attrs

__all__ = ["Exit", "InTerminal", "LogLine", "Survivor", "Usage", "VMState"]


class VMState(enum.StrEnum):
    """Where a VM is in its life; the value is the word used on the wire."""

    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    EXITED = "exited"
    FAILED = "failed"
    REMOVED = "removed"


class InTerminal:
    """What IPython's terminal shows as ``str`` says it."""

    __slots__ = ()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002, FBT001 - IPython's
        from .display import legal  # noqa: PLC0415 - only IPython needs it

        printer.text(legal(self))


@attrs.frozen
class Exit(InTerminal):
    """How a program ended.

    Attributes:
        code: Its exit code, None when a signal ended it or the status is lost.
        signal: The signal that ended it, None when it ended by itself or the status is lost.
        at: When, as a Unix time.
        expected: Whether it was seen after remove, reset or close asked for it.
    """

    code: int | None
    signal: int | None
    at: float
    expected: bool = False

    @property
    def is_lost(self) -> bool:
        """Whether nobody can know how it ended, because somebody else reaped it."""
        return self.code is None and self.signal is None

    def __str__(self) -> str:
        """Say it in a few words: 'exited with code 3', 'was ended by SIGKILL'."""
        if self.signal is not None:
            return f"was ended by {signal_name(self.signal)}"
        if self.code is not None:
            return f"exited with code {self.code}"
        return "ended, and its status is lost"


@functools.cache
def signal_name(number: int) -> str:
    """Return the name of a signal, or 'signal 77' where it has none."""
    import signal  # noqa: PLC0415 - its enums cost a start that needs no name

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@attrs.frozen
class LogLine(InTerminal):
    r"""One line of a program's output.

    Attributes:
        text: The line without its end, decoded as UTF-8, each bad sequence as U+FFFD.
        stream: ``'stdout'`` or ``'stderr'``.
        at: When its end (or its last part) was read, as a Unix time.
        generation: The generation of the VM that wrote it.
    """

    text: str
    stream: str
    at: float
    generation: int

    def __str__(self) -> str:
        """Return the text."""
        return self.text

    @property
    def shown(self) -> str:
        """The text as a terminal would leave it: no colours, a progress bar's last state."""
        from .display import as_seen  # noqa: PLC0415 - only who shows it needs it

        return as_seen(self.text)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, a row of a table say."""
        row: dict[str, Any] = plain(self)
        return row


@attrs.frozen
class Usage(InTerminal):
    """What a VM's whole process tree uses at one moment.

    Attributes:
        cpu_time: Seconds of processor time, user and system, of what lives now.
        cpu_percent: Per cent of one processor since the last call; None at the first.
        memory: Resident bytes.
        threads: Number of threads.
        processes: Number of processes.
        open_files: Number of open descriptors, as far as they may be counted.
    """

    cpu_time: float
    cpu_percent: float | None
    memory: int
    threads: int
    processes: int
    open_files: int

    def __str__(self) -> str:
        """Say it in a sentence: '2 processes, 3 threads, 12.5 MiB, 0.31 s of CPU, ...'."""
        percent = "" if self.cpu_percent is None else f" ({self.cpu_percent:.1f} %)"
        words = [
            "1 process" if self.processes == 1 else f"{self.processes} processes",
            "1 thread" if self.threads == 1 else f"{self.threads} threads",
            f"{self.memory / 2**20:.1f} MiB",
            f"{self.cpu_time:.2f} s of CPU{percent}",
            "1 open file" if self.open_files == 1 else f"{self.open_files} open files",
        ]
        return ", ".join(words)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, a row of a table say."""
        row: dict[str, Any] = plain(self)
        return row

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from .display import usage_html  # noqa: PLC0415 - only a notebook needs it

        return usage_html(plain(self))


@attrs.frozen
class Survivor:
    """A process that outlived the end of a stop.

    Attributes:
        pid: Its number.
        command: What it is called, as far as that may be read.
    """

    pid: int
    command: str = ""

    def __str__(self) -> str:
        """Say it as ``4711 (sleep)``."""
        return f"{self.pid} ({self.command})" if self.command else str(self.pid)


def plain(value: Any) -> Any:
    """Return a frozen value of ours as plain data: dicts, lists, numbers and text."""
    if isinstance(value, enum.Enum):
        return value.value
    if attrs.has(type(value)):
        return {a.name: plain(getattr(value, a.name)) for a in attrs.fields(type(value))}
    if isinstance(value, (tuple, list, frozenset, set)):
        return [plain(item) for item in value]
    return value
