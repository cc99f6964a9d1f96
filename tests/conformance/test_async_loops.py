"""What an event loop may expect: little of its time, nothing left, any number of loops."""

from __future__ import annotations

import asyncio
import gc
import signal
import statistics
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest

from procvm import (
    AsyncVMManager,
    FakeBackend,
    ManagerClosedError,
    SubprocessBackend,
    VMConfig,
    VMEvent,
    VMNotFoundError,
    VMState,
    probes,
)
from procvm.backends import Waiter

SLEEP = ["sleep", "1000"]
NEVER = probes.log("never")
MANY = 50


Factory = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(scope="module")
def factories() -> dict[str, Factory]:
    """Return what makes loops; the descriptors that uvloop keeps for good are open by then."""
    found: dict[str, Factory] = {"asyncio": asyncio.new_event_loop}
    try:
        import uvloop
    except ImportError:
        return found
    uvloop.new_event_loop().close()
    return {**found, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["asyncio", "uvloop"])
def run(
    request: pytest.FixtureRequest, factories: dict[str, Factory]
) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Return what runs a coroutine in a loop of one kind."""
    if request.param not in factories:
        pytest.skip(f"{request.param} is not installed: it is in the extra test")

    def runs(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factories[request.param]) as runner:
            runner.run(main)

    return runs


class _Timed:
    """Awaits a verb, and adds up what it takes of its thread's processor time."""

    def __init__(self, verb: Coroutine[Any, Any, Any]) -> None:
        self._verb = verb
        self.spent = 0.0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps, sent = self._verb.__await__(), None
        while True:
            begin = time.thread_time()
            try:
                future = steps.send(sent)
            except StopIteration as e:
                return e.value
            finally:
                self.spent += time.thread_time() - begin
            sent = yield future


async def _together(verbs: list[_Timed]) -> list[float]:
    async def one(verb: _Timed) -> None:
        await verb

    await asyncio.gather(*map(one, verbs))
    return [verb.spent for verb in verbs]


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_verbs_take_little_of_the_loops_time(run: Callable[..., None], containment: Any) -> None:
    async def main() -> None:
        async with AsyncVMManager(SubprocessBackend(containment)) as manager:
            configs = [VMConfig(f"vm{i}", SLEEP) for i in range(MANY)]
            gc.collect()
            gc.disable()  # a collection is not the verb's
            try:
                for verbs in (
                    [manager.allocate(config) for config in configs],
                    [manager.reset(config.name) for config in configs],
                    [manager.health(), manager.list(), manager.history(), manager.usage("vm0")],
                    [manager.remove(config.name) for config in configs],
                ):
                    spent = await _together([_Timed(verb) for verb in verbs])
                    assert statistics.median(spent) < 0.005, spent
                    assert max(spent) < 0.05, spent
            finally:
                gc.enable()

    run(main())


class _Watched(SubprocessBackend):
    """Notes which threads are blocked, and which start programs."""

    def __init__(self) -> None:
        super().__init__()
        self.blocked: set[int] = set()
        self.spawned: set[int] = set()

    def block(self, waiter: Waiter, timeout: float | None) -> bool:
        self.blocked.add(threading.get_ident())
        return super().block(waiter, timeout)

    def spawn(self, key: Any, plan: Any) -> None:
        self.spawned.add(threading.get_ident())
        super().spawn(key, plan)


def test_no_verb_blocks_the_loops_thread_or_starts_a_program_in_it(
    run: Callable[..., None],
) -> None:
    async def main() -> None:
        backend = _Watched()
        async with AsyncVMManager(backend) as manager:
            vms = await manager.allocate_all([VMConfig(f"vm{i}", SLEEP) for i in range(3)])
            await manager.allocate(VMConfig("one", SLEEP))
            await manager.reset(vms[0])
            await manager.signal(vms[0], signal.SIGCONT)
            await manager.wait(vms[0], "running", timeout=10)
            await manager.usage(vms[0])
            await manager.remove(vms[0])
        assert backend.spawned
        assert threading.get_ident() not in backend.blocked | backend.spawned

    run(main())


async def _emptied(manager: AsyncVMManager) -> None:
    """Wait until there is no VM any more."""
    with pytest.raises(VMNotFoundError):
        await manager.remove("nobody")  # behind what was posted
    while vms := await manager.list():
        await asyncio.gather(*(manager.wait(vm, "removed", timeout=30) for vm in vms))


def test_an_allocation_cancelled_at_any_moment_leaves_nothing(run: Callable[..., None]) -> None:
    async def main() -> None:
        cancelled = 0
        async with AsyncVMManager(SubprocessBackend()) as manager:
            for turns in (*range(12), 20, 50, 100, 200, 500):
                task = asyncio.ensure_future(manager.allocate(VMConfig("web", SLEEP)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    vm = await task
                except asyncio.CancelledError:
                    cancelled += 1
                else:
                    await manager.remove(vm)
                await _emptied(manager)
            assert cancelled > 5

    run(main())


def test_an_allocation_cancelled_when_its_answer_is_there_leaves_nothing(
    run: Callable[..., None],
) -> None:
    async def main() -> None:
        async with AsyncVMManager(SubprocessBackend()) as manager:
            task = asyncio.ensure_future(manager.allocate(VMConfig("web", SLEEP)))
            await asyncio.sleep(0)
            manager._face.wait("web", "running", timeout=30)  # the loop is held: it hears nothing
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await _emptied(manager)

    run(main())


def test_several_allocations_cancelled_together_leave_nothing(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with AsyncVMManager(SubprocessBackend()) as manager:
            events = manager.events()
            configs = [VMConfig(f"vm{i}", SLEEP) for i in range(3)]
            never = VMConfig("never", SLEEP, ready=NEVER)
            task = asyncio.ensure_future(manager.allocate_all([*configs, never]))
            while len(await manager.list()) < 4:
                await anext(events)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await _emptied(manager)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(manager.allocate(never), 0.05)
            await _emptied(manager)
            await events.aclose()

    run(main())


def test_several_loops_in_several_threads_share_one_engine(run: Callable[..., None]) -> None:
    manager = AsyncVMManager(SubprocessBackend())
    heard: dict[int, list[VMEvent]] = {}
    everybody = threading.Barrier(4)

    async def main(number: int) -> None:
        events = manager.events()
        await asyncio.to_thread(everybody.wait)
        mine = await asyncio.gather(
            *(manager.allocate(VMConfig(f"vm{number}-{i}", SLEEP)) for i in range(3))
        )
        await manager.reset(mine[0])
        await asyncio.to_thread(everybody.wait)
        assert len(await manager.list()) == 12
        other = (number + 1) % 4
        gone = asyncio.ensure_future(manager.wait(f"vm{other}-1", "removed", timeout=60))
        await asyncio.sleep(0)
        await asyncio.to_thread(everybody.wait)
        await asyncio.gather(*(manager.remove(vm) for vm in mine))
        assert (await gone).state is VMState.REMOVED
        heard[number] = []
        while sum(event.kind == "removed" for event in heard[number]) < 12:
            heard[number].append(await asyncio.wait_for(anext(events), 60))
        await events.aclose()

    errors: list[BaseException] = []

    def thread(number: int) -> None:
        try:
            run(main(number))
        except BaseException as e:
            errors.append(e)
            everybody.abort()

    threads = [threading.Thread(target=thread, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    run(manager.close())
    assert errors == []
    kinds = [[(e.kind, e.vm.vm_id) for e in events] for events in heard.values()]
    assert kinds == [kinds[0]] * 4


def test_events_are_heard_from_the_call_until_the_manager_is_closed(
    run: Callable[..., None],
) -> None:
    async def main() -> None:
        async with AsyncVMManager(SubprocessBackend()) as manager:
            events = manager.events()
            await manager.allocate(VMConfig("web", SLEEP))
            reader = asyncio.ensure_future(_kinds(events))
        assert await asyncio.wait_for(reader, 30) == [
            "allocated", "started", "ready", "stopping", "exited", "removed",
        ]  # fmt: skip
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        with pytest.raises(ManagerClosedError):
            manager.events()

    run(main())


async def _kinds(events: Any) -> list[str]:
    return [event.kind async for event in events]


def test_events_of_a_fake_are_iterated_too(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with AsyncVMManager(FakeBackend()) as manager:
            events = manager.events()
            await manager.remove(await manager.allocate(VMConfig("web", SLEEP)))
        kinds = await _kinds(events)
        assert (kinds[0], kinds[-1]) == ("allocated", "removed")

    run(main())


def test_events_that_nobody_reads_are_bounded_and_counted() -> None:
    async def main() -> None:
        async with AsyncVMManager(FakeBackend()) as manager:
            events = manager.events()
            while not events.lost:
                await manager.remove(await manager.allocate(VMConfig("web", SLEEP)))
            assert (await anext(events)).kind == "allocated"
            await events.aclose()
            await events.aclose()
            assert await _kinds(events) == []

    asyncio.run(main())


def test_events_that_are_forgotten_or_whose_loop_is_closed_hurt_nobody() -> None:
    manager = AsyncVMManager(SubprocessBackend())

    async def forgets() -> None:
        manager.events()
        gc.collect()
        assert manager._core.engine.listeners == []

    async def leaves() -> Any:
        return manager.events()

    asyncio.run(forgets())
    kept = asyncio.run(leaves())

    async def goes_on() -> None:
        async with manager:
            vm = await manager.allocate(VMConfig("web", SLEEP))
            assert (await manager.remove(vm)).state is VMState.REMOVED

    asyncio.run(goes_on())
    assert kept.lost == 0


def test_readers_that_were_cancelled_are_forgotten(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with AsyncVMManager(SubprocessBackend()) as manager:
            vm = await manager.allocate(VMConfig("silent", SLEEP))
            for _ in range(5):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(manager.follow(vm)), 0.01)
            await manager.signal(vm, signal.SIGCONT)  # behind what was posted
            assert manager._core.engine.entries[vm.vm_id].followers == []

    run(main())


def test_a_flood_that_is_followed_leaves_the_loop_its_turns(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with AsyncVMManager(SubprocessBackend()) as manager:
            vm = await manager.allocate(VMConfig("says", ["seq", "100000"]))
            await manager.wait(vm)
            turns = 0

            async def turning() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            other = asyncio.ensure_future(turning())
            lines = [int(str(line)) async for line in manager.follow(vm)]
            other.cancel()
            assert lines == list(range(lines[0], 100_001))
            assert turns > 5

    run(main())
