"""The bar of allocate_all: its total, how many are up, and nothing is started without tqdm."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from procvm import (
    AsyncVMManager,
    Backend,
    FakeBackend,
    FakeProgram,
    SubprocessBackend,
    VMConfig,
    VMManager,
    probes,
)

SLEEP = ["sleep", "1000"]
GOOD = [VMConfig(f"vm{n}", SLEEP) for n in range(3)]
BAD = VMConfig("bad", "false", ready=probes.log("never"))

Outcome = tuple[list[str], list[str], BaseException | None]
Start = Callable[..., Outcome]


class StandIn:
    """What is used of tqdm, remembered."""

    made: list[StandIn]

    def __init__(self, *, total: int, unit: str) -> None:
        self.total, self.unit, self.n, self.is_closed = total, unit, 0, False
        self.seen: list[int] = []
        self.made.append(self)

    def update(self, n: int) -> None:
        self.n += n
        self.seen.append(self.n)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[StandIn]:
    """Put a stand-in where tqdm is looked for; it needs no tqdm."""
    StandIn.made = []
    module: Any = types.ModuleType("tqdm.auto")
    module.tqdm = StandIn
    monkeypatch.setitem(sys.modules, "tqdm", types.ModuleType("tqdm"))
    monkeypatch.setitem(sys.modules, "tqdm.auto", module)
    return StandIn.made


def make_backend(kind: str) -> Backend:
    if kind != "fake":
        return SubprocessBackend()
    fake = FakeBackend()
    fake.program("bad", FakeProgram(ready_after=1.0, exit_after=0.5, exit_code=1))
    return fake


def sync(kind: str, configs: Iterable[VMConfig], *, progress: bool = True) -> Outcome:
    with VMManager(make_backend(kind)) as manager:
        try:
            got = [vm.name for vm in manager.allocate_all(configs, progress=progress)]
        except (ExceptionGroup, ImportError) as e:
            return [], [vm.name for vm in manager.list()], e
        return got, [vm.name for vm in manager.list()], None


def awaited(kind: str, configs: Iterable[VMConfig], *, progress: bool = True) -> Outcome:
    async def main() -> Outcome:
        async with AsyncVMManager(make_backend(kind)) as manager:
            try:
                got = [vm.name for vm in await manager.allocate_all(configs, progress=progress)]
            except (ExceptionGroup, ImportError) as e:
                return [], [vm.name for vm in await manager.list()], e
            return got, [vm.name for vm in await manager.list()], None

    return asyncio.run(main())


@pytest.fixture(params=["sync fake", "sync real", "async fake", "async real"])
def start(request: pytest.FixtureRequest) -> Start:
    """Return what starts several and tells who came, who stayed and what failed."""
    face, kind = request.param.split()
    chosen = sync if face == "sync" else awaited
    return lambda configs, **options: chosen(kind, configs, **options)


def test_a_bar_counts_to_its_total(bars: list[StandIn], start: Start) -> None:
    assert start(iter(GOOD))[0] == ["vm0", "vm1", "vm2"]
    (bar,) = bars
    assert (bar.total, bar.n, bar.unit, bar.is_closed) == (3, 3, "VM", True)
    assert bar.seen[0] < 3
    assert bar.seen == sorted(bar.seen)


def test_nobody_asked_for_a_bar(bars: list[StandIn], start: Start) -> None:
    assert len(start(GOOD, progress=False)[0]) == 3
    assert bars == []


def test_one_that_failed_does_not_count(bars: list[StandIn], start: Start) -> None:
    _, left, error = start([BAD, *GOOD])
    assert isinstance(error, ExceptionGroup)
    assert len(error.exceptions) == 1
    assert left == []
    (bar,) = bars
    assert (bar.total, bar.n, bar.is_closed) == (4, 3, True)


def test_one_that_is_refused_takes_the_others_with_it(bars: list[StandIn], start: Start) -> None:
    _, left, error = start([*GOOD, GOOD[0]])
    assert isinstance(error, ExceptionGroup)
    assert left == []
    assert all(bar.is_closed for bar in bars)


def test_no_vms_are_an_empty_bar(bars: list[StandIn], start: Start) -> None:
    assert start([]) == ([], [], None)
    assert [(bar.total, bar.n, bar.is_closed) for bar in bars] == [(0, 0, True)]


def test_who_is_up_first_counts_first(bars: list[StandIn]) -> None:
    fake = FakeBackend()
    fake.program("vm0", FakeProgram(ready_after=9.0))
    fake.program("vm1", FakeProgram(ready_after=1.0))
    ready = probes.tcp(80)
    with VMManager(fake) as manager:
        manager.allocate_all([VMConfig(f"vm{n}", "x", ready=ready) for n in (0, 1)], progress=True)
    assert bars[0].seen == [0, 1, 2]


def test_a_bar_moves_while_the_first_is_not_ready(bars: list[StandIn]) -> None:
    async def main() -> None:
        async with AsyncVMManager() as manager:
            never = VMConfig("never", SLEEP, ready=probes.log("never"))
            events = manager.events()
            task = asyncio.ensure_future(manager.allocate_all([never, *GOOD], progress=True))
            ready = 0
            while ready < 3:
                ready += (await anext(events)).kind == "ready"
            await asyncio.wait_for(_until(lambda: bars[0].n == 3), 30)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await events.aclose()

    asyncio.run(main())
    assert bars[0].is_closed


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0)


def test_without_tqdm_nothing_is_started(monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    asked: list[str] = []
    configs = (asked.append(config.name) or config for config in GOOD)  # type: ignore[func-returns-value] # it tells who was asked for
    _, left, error = start(configs)
    assert isinstance(error, ImportError)
    assert error.name == "tqdm"
    assert "pip install 'procvm[progress]'" in str(error)
    assert left == asked == []


def test_tqdm_itself_draws_a_whole_bar(monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    tqdm = pytest.importorskip("tqdm", reason="the extra 'progress' is not installed")
    monkeypatch.setattr(tqdm.tqdm, "_lock", threading.RLock(), raising=False)
    monkeypatch.setattr(sys, "stderr", said := io.StringIO())
    assert len(start(GOOD)[0]) == 3
    assert "100%" in said.getvalue()
    assert "3/3" in said.getvalue().split("\r")[-1]
    assert said.getvalue().endswith("\n")


def test_a_notebook_without_ipywidgets_is_not_warned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As tqdm.auto does there, when it is first imported; a warning would be an error here."""
    (tmp_path / "tqdm").mkdir()
    (tmp_path / "tqdm" / "__init__.py").touch()
    warns = """
import warnings
warnings.warn("IProgress not found")
class tqdm:
    n = 0
    def __init__(self, **_): pass
    def update(self, _): pass
    def close(self): pass
"""
    (tmp_path / "tqdm" / "auto.py").write_text(warns)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tqdm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with VMManager(FakeBackend()) as manager:
        assert manager.allocate_all([], progress=True) == []
    assert "tqdm.auto" in sys.modules
    for name in ("tqdm", "tqdm.auto"):
        del sys.modules[name]
