"""A close that is interrupted, cancelled or called twice: it ends, and is told once."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from procvm import (
    AsyncVMManager,
    FakeBackend,
    StopError,
    SubprocessBackend,
    VMConfig,
    VMManager,
)
from procvm.backends import Capabilities, Key, Waiter
from procvm.facts import Survivor

SURVIVORS = (Survivor(4711, "stuck"),)


class Stuck(FakeBackend):
    """Nothing ends here, and whoever waits for that, or for its end, may be interrupted."""

    def __init__(self) -> None:
        super().__init__()
        self.is_interrupted = self.is_interrupted_late = False
        self.closed = 0

    @property
    def capabilities(self) -> Capabilities:
        """Not those of virtual time: there is a backend to end."""
        return Capabilities("tree")

    def stop(self, key: Key, *, grace: float) -> None:
        """Tell what is alive."""
        sink = self._sink
        assert sink is not None
        self.call_later(0, lambda: sink.survived(key, SURVIVORS))

    def block(self, waiter: Waiter, timeout: float | None) -> bool:
        """Be interrupted, once."""
        if self.is_interrupted:
            self.is_interrupted = False
            raise KeyboardInterrupt
        while not waiter.is_set() and self._clock.next_at() is None:
            time.sleep(0.001)  # another thread is to set it
        return super().block(waiter, timeout)

    def close(self) -> None:
        """Be interrupted here, once."""
        if self.is_interrupted_late:
            self.is_interrupted_late = False
            raise KeyboardInterrupt
        self.closed += 1
        super().close()


@pytest.fixture
def backend() -> Stuck:
    return Stuck()


@pytest.fixture
def manager(backend: Stuck) -> VMManager:
    made = VMManager(backend)
    made.allocate(VMConfig("stuck", "stuck"))
    return made


def joined() -> None:
    for thread in threading.enumerate():
        if thread.name == "procvm-closing":
            thread.join(30)
            assert not thread.is_alive()


def survivors_of(group: BaseException) -> list[Any]:
    assert isinstance(group, ExceptionGroup)
    assert all(isinstance(error, StopError) for error in group.exceptions)
    return [error.survivors for error in group.exceptions]  # type: ignore[union-attr] # as just seen


@pytest.mark.parametrize("where", ["is_interrupted", "is_interrupted_late"])
def test_what_an_interrupted_close_could_not_stop_is_told_by_the_next(
    backend: Stuck, manager: VMManager, where: str
) -> None:
    setattr(backend, where, True)
    with pytest.raises(KeyboardInterrupt):
        manager.close()
    joined()
    assert repr(manager) == "<VMManager closed>"
    assert backend.closed == 1
    with pytest.raises(ExceptionGroup) as caught:
        manager.close()
    assert survivors_of(caught.value) == [SURVIVORS]
    manager.close()
    assert backend.closed == 1


def test_a_manager_whose_close_goes_on_is_not_forgotten(
    backend: Stuck, manager: VMManager, caplog: pytest.LogCaptureFixture
) -> None:
    backend.is_interrupted = True
    with pytest.raises(KeyboardInterrupt):
        manager.close()
    del manager
    gc.collect()
    joined()
    assert "forgotten" not in caplog.text
    assert backend.closed == 1


def test_what_a_close_has_met_is_told_to_who_called_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not to a subscriber that closes as well, in the meantime."""
    told: list[BaseException | None] = []
    backend = SubprocessBackend()

    def stop(key: Key, *, grace: float) -> None:
        backend.post(lambda: backend.sink.survived(key, SURVIVORS))

    def close(event: Any) -> None:
        if event.kind == "warning":
            try:
                made.close()
                told.append(None)
            except ExceptionGroup as error:
                told.append(error)

    monkeypatch.setattr(backend, "stop", stop)
    made = VMManager(backend)
    made.allocate(VMConfig("stuck", ["sleep", "1000"]))
    made.subscribe(close)
    with pytest.raises(ExceptionGroup) as caught:
        made.close()
    assert survivors_of(caught.value) == [SURVIVORS]
    assert told == [None]


def test_a_close_that_was_cancelled_goes_on_though_every_executor_is_busy() -> None:
    held = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        loop.run_in_executor(None, held.wait)
        manager = AsyncVMManager(Stuck())
        manager._face.allocate(VMConfig("stuck", "stuck"))
        closing = asyncio.create_task(manager.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        joined()
        with pytest.raises(ExceptionGroup) as caught:
            await manager.close()
        assert survivors_of(caught.value) == [SURVIVORS]
        held.set()

    asyncio.run(main())


def test_subscribers_have_heard_of_it_all_when_the_second_close_returns() -> None:
    heard: list[str] = []
    slow = threading.Event()

    def hear(event: Any) -> None:
        if event.kind == "removed":
            slow.wait(30)
        heard.append(event.kind)

    manager = VMManager()
    manager.subscribe(hear)
    manager.allocate(VMConfig("web", ["sleep", "1000"]))
    finish = manager.core.closing._finish
    calls = iter([KeyboardInterrupt()])

    def interrupted(grace: float | None) -> list[StopError]:
        manager.core.engine.is_closing = True
        for error in calls:
            raise error
        return finish(grace)

    manager.core.closing._finish = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        manager.close()
    threading.Timer(0.2, slow.set).start()
    manager.close()
    assert heard[-1] == "removed"


def test_a_manager_whose_output_is_followed_is_not_forgotten() -> None:
    def output() -> Any:
        manager = VMManager()
        script = "for i in 1 2 3; do echo $i; sleep 0.1; done"
        manager.allocate(VMConfig("a", ["sh", "-c", script]))
        return manager.follow("a")

    lines = output()
    gc.collect()
    with pytest.warns(ResourceWarning, match="forgotten"):  # noqa: PT031 - at the end of both
        assert [str(line) for line in lines] == ["1", "2", "3"]
        gc.collect()
