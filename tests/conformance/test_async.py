"""The async face of the same engine."""

from __future__ import annotations

import asyncio
import gc
import inspect
from typing import Any

import pytest

from procvm import (
    AsyncVMManager,
    ConfigError,
    FakeBackend,
    ManagerClosedError,
    SubprocessBackend,
    VMConfig,
    VMManager,
    VMState,
    probes,
)


def test_both_faces_have_the_same_verbs_parameters_and_first_lines() -> None:
    names = {n for n in vars(VMManager) if not n.startswith("_")} - {
        "core",
        "overdue",
        "signalling",
    }
    assert names <= set(vars(AsyncVMManager))
    for name in names - {"backend"}:
        sync, other = getattr(VMManager, name), getattr(AsyncVMManager, name)
        assert list(inspect.signature(sync).parameters) == list(
            inspect.signature(other).parameters
        )
        assert (sync.__doc__ or "").split("\n")[0] == (other.__doc__ or "").split("\n")[0]
        assert ("Raises:" in (sync.__doc__ or "")) == ("Raises:" in (other.__doc__ or ""))


@pytest.mark.parametrize("kind", ["fake", "real"])
def test_a_manager_may_have_both_faces(kind: str) -> None:
    manager = VMManager(FakeBackend() if kind == "fake" else None)

    async def main() -> None:
        other = AsyncVMManager.of(manager)
        web = await other.allocate(VMConfig("web", ["sleep", "1000"]))
        assert manager.list() == await other.list() == [web]
        assert other.backend is manager.backend
        assert manager.remove("web").vm_id == web.vm_id
        await other.allocate(VMConfig("again", ["sleep", "1000"]))
        async with other:
            pass

    asyncio.run(main())
    with pytest.raises(ManagerClosedError):
        manager.list()
    assert [event.kind for event in manager.history("again")][-1] == "removed"


def test_a_face_of_what_is_no_manager_is_refused() -> None:
    wrong: Any
    with VMManager(FakeBackend()) as manager:
        for wrong in (None, FakeBackend(), AsyncVMManager.of(manager), VMManager):
            with pytest.raises(ConfigError, match="must be a VMManager"):
                AsyncVMManager.of(wrong)


def test_a_manager_is_held_by_its_other_face() -> None:
    async def main() -> None:
        other = AsyncVMManager.of(VMManager())
        gc.collect()
        await other.allocate(VMConfig("web", ["sleep", "1000"]))
        await other.close()

    asyncio.run(main())


def test_what_is_not_for_users_is_not_completed() -> None:
    with VMManager(FakeBackend()) as manager:
        assert not {"core", "signalling"} & set(dir(manager))
        assert {"allocate", "health", "logs"} <= set(dir(manager))


@pytest.mark.parametrize("kind", ["fake", "group"])
def test_the_main_job_awaited(kind: str) -> None:
    async def main() -> None:
        backend = FakeBackend() if kind == "fake" else SubprocessBackend()
        async with AsyncVMManager(backend) as manager:
            web = await manager.allocate(VMConfig("web", ["sleep", "1000"]))
            assert web.state is VMState.RUNNING
            assert await manager.list() == [web]
            assert (await manager.reset(web)).generation == 2
            assert (await manager.remove("web")).state is VMState.REMOVED

    asyncio.run(main())


def test_a_cancelled_wait_for_a_start_leaves_nothing() -> None:
    async def main() -> None:
        from procvm import probes

        async with AsyncVMManager(SubprocessBackend()) as manager:
            never = VMConfig("web", ["sleep", "1000"], ready=probes.log("never"))
            events = manager.events()
            task = asyncio.ensure_future(manager.allocate(never))
            vm = (await asyncio.wait_for(anext(events), 30)).vm  # it is allocated
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await manager.wait(vm, "removed", timeout=30)
            assert await manager.list() == []
            await events.aclose()

    asyncio.run(main())


def test_lines_and_events_are_iterated() -> None:
    async def main() -> None:
        async with AsyncVMManager(SubprocessBackend()) as manager:
            events = manager.events()
            first = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            vm = await manager.allocate(VMConfig("says", ["echo", "hello"]))
            assert [str(line) async for line in manager.follow(vm)] == ["hello"]
            assert (await asyncio.wait_for(first, 30)).kind == "allocated"
            await events.aclose()

    asyncio.run(main())


def test_a_close_that_is_cancelled_says_for_whom_it_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    deaf = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1000; done"]

    async def main() -> None:
        manager = AsyncVMManager()
        await manager.allocate(VMConfig("slow", deaf, ready=probes.log("deaf")))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(manager.close(), 0.05)
        await manager.close(grace=0.0)

    asyncio.run(main())
    assert "close was interrupted and goes on: 'slow' may take up to 10 s to end" in caplog.text


def test_events_of_a_closed_manager_are_refused_by_their_name() -> None:
    async def main() -> None:
        manager = AsyncVMManager(FakeBackend())
        await manager.close()
        with pytest.raises(ManagerClosedError, match=r"^events: "):
            manager.events()

    asyncio.run(main())
