"""What verbs take of an event loop's thread: its processor time, under 50 at once."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Coroutine, Generator
from typing import Any

from procvm import AsyncVMManager, VMConfig

MANY = 50


class Timed:
    """Awaits a verb and adds up what its steps take of the thread."""

    def __init__(self, verb: Coroutine[Any, Any, Any]) -> None:
        self._verb = verb
        self.spent = 0.0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._verb.__await__()
        while True:
            begin = time.thread_time()
            try:
                future = steps.send(None)
            except StopIteration as e:
                return e.value
            finally:
                self.spent += time.thread_time() - begin
            yield future


async def _measured() -> dict[str, list[float]]:
    async with AsyncVMManager() as manager:
        names = [f"vm{number}" for number in range(MANY)]
        figures = {}
        for verb, makes in (
            ("allocate", lambda name: manager.allocate(VMConfig(name, ["sleep", "1000"]))),
            ("reset", manager.reset),
            ("remove", manager.remove),
        ):
            timed = [Timed(makes(name)) for name in names]

            async def one(verb: Timed) -> None:
                await verb

            await asyncio.gather(*map(one, timed))
            figures[verb] = [verb.spent for verb in timed]
        return figures


def loop_time() -> str:
    """Return the figures as a table."""
    lines = [f"| {MANY} at once, the loop's thread | median ms | most ms |", "| --- | --- | --- |"]
    for verb, spent in asyncio.run(_measured()).items():
        median = statistics.median(spent) * 1e3
        lines.append(f"| {verb} | {median:.3f} | {max(spent) * 1e3:.3f} |")
    return "\n".join(lines)
