"""A coroutine's waiting in a loop that a kernel runs, or whose callbacks are taken away."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from procvm import AsyncVMManager, SubprocessBackend, VMConfig

KERNEL = "ipykernel.kernelapp"
QUIET = ["sleep", "1000"]


class Forgetful(asyncio.SelectorEventLoop):
    """Loses what other threads ask for, as when a KeyboardInterrupt hits its callback."""

    forgets = False

    def call_soon_threadsafe(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Wake up, and do nothing of it if it forgets."""
        if not self.forgets:
            return super().call_soon_threadsafe(callback, *args, context=context)
        return super().call_soon_threadsafe(int)


class Counting(asyncio.SelectorEventLoop):
    """Counts what it is asked to do at a time."""

    timers = 0

    def call_at(self, *args: Any, **more: Any) -> asyncio.TimerHandle:  # type: ignore[override]
        """Count it."""
        self.timers += 1
        return super().call_at(*args, **more)


def timers_of_a_wait() -> int:
    """Return how many timers a wait of half a second in vain takes: its end, and a last look."""
    loop = Counting()

    async def main() -> int:
        async with AsyncVMManager(SubprocessBackend()) as manager:
            vm = await manager.allocate(VMConfig("quiet", QUIET))
            before = loop.timers
            with pytest.raises(TimeoutError):
                await manager.wait(vm, timeout=0.5)
            return loop.timers - before

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


def test_a_loop_turns_for_nothing_only_where_a_kernel_runs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, KERNEL, raising=False)
    assert timers_of_a_wait() == 2
    monkeypatch.setitem(sys.modules, KERNEL, types.ModuleType(KERNEL))
    assert timers_of_a_wait() > 3
    with ThreadPoolExecutor(1) as pool:  # where no signal arrives
        assert pool.submit(timers_of_a_wait).result() == 2


def test_a_callback_that_was_interrupted_leaves_no_verb_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, KERNEL, types.ModuleType(KERNEL))
    loop = Forgetful()

    async def main() -> None:
        async with AsyncVMManager(SubprocessBackend()) as manager:
            events = manager.events()
            loop.forgets = True
            vm = await manager.allocate(VMConfig("quiet", QUIET))
            assert (await anext(events)).vm.name == "quiet"
            await manager.remove(vm)
            loop.forgets = False

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(asyncio.wait_for(main(), 30))


def test_a_reader_of_events_that_was_cancelled_is_kept_by_no_traceback() -> None:
    async def main() -> None:
        async with AsyncVMManager(SubprocessBackend()) as manager:
            with pytest.raises(TimeoutError) as kept:
                await asyncio.wait_for(anext(manager.events()), 0.01)
            assert kept.tb is not None
            assert manager._core.engine.listeners == []

    asyncio.run(main())
