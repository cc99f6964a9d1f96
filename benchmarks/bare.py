"""The bare calls, and procvm: what needs nothing installed."""

from __future__ import annotations

import asyncio
import subprocess
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from procvm import SubprocessBackend, VMConfig, VMManager

SLEEP = ["sleep", "1000"]
NULL = subprocess.DEVNULL
QUIET: dict[str, Any] = {"stdin": NULL, "stdout": NULL, "stderr": NULL, "start_new_session": True}


class Contender(Protocol):
    """Something that starts one program and takes it away, again and again.

    Attributes:
        name: What it is called in the table.
        every: It takes part in every so-manieth round: slow ones in fewer.
        sees: Whether an exit can be waited for, or is only found by asking.
    """

    name: str
    every: int
    sees: bool

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def start(self) -> int:
        """Return the pid when it is executing."""

    def settle(self) -> None:
        """Return when its own program is executing, where start does not wait for that."""

    def stop(self) -> None:
        """Return when it is gone."""

    def see(self) -> None:
        """Return when its exit is known."""


class Base:
    name = ""
    every = 1
    sees = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def settle(self) -> None:
        pass

    def see(self) -> None:
        raise NotImplementedError


class Popen(Base):
    name = "subprocess.Popen"

    def start(self) -> int:
        self.process = subprocess.Popen(SLEEP, **QUIET)
        return self.process.pid

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def see(self) -> None:
        self.process.wait()


class PsutilPopen(Base):
    name = "psutil.Popen"

    def start(self) -> int:
        import psutil

        self.process = psutil.Popen(SLEEP, **QUIET)
        return int(self.process.pid)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def see(self) -> None:
        self.process.wait()


class Asyncio(Base):
    name = "asyncio subprocess"

    def __enter__(self) -> Self:
        self.runner = asyncio.Runner()
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(*SLEEP, **QUIET)

    async def _wait(self) -> None:
        await self.process.wait()

    def start(self) -> int:
        self.process = self.runner.run(self._start())
        return self.process.pid

    def stop(self) -> None:
        self.process.terminate()
        self.runner.run(self._wait())

    def see(self) -> None:
        self.runner.run(self._wait())


class Procvm(Base):
    def __init__(self, containment: Literal["tree", "group"]) -> None:
        self.name = f'procvm, "{containment}"'
        self.manager = VMManager(SubprocessBackend(containment))
        self.config = VMConfig("vm", SLEEP)

    def __exit__(self, *_: object) -> None:
        self.manager.close()

    def start(self) -> int:
        if self.manager.list():
            self.manager.remove("vm")
        pid = self.manager.allocate(self.config).pid
        assert pid is not None
        return pid

    def stop(self) -> None:
        self.manager.remove("vm")

    def see(self) -> None:
        self.manager.wait("vm")
        self.manager.remove("vm")


def bare() -> list[Contender]:
    """Return those that are always there."""
    return [Popen(), PsutilPopen(), Asyncio(), Procvm("tree"), Procvm("group")]
