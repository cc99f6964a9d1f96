"""The live table, with a notebook that only notes what it is shown."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import pytest
from displayed import HOSTILE, page

from procvm import (
    AsyncVMManager,
    FakeBackend,
    FakeProgram,
    ManagerClosedError,
    VMConfig,
    VMManager,
    VMState,
)
from procvm.manager import _watch


class Notebook:
    """IPython as far as a watch speaks to it; may be waited for."""

    def __init__(self) -> None:
        self.execution_count = 1
        self.display_id = "one"
        self.shown: list[tuple[str, Any]] = []
        self.changed = threading.Condition()
        self.breaks = False

    def display(self, value: Any, *, display_id: str | bool) -> Notebook:
        with self.changed:
            self.shown.append(("display", value))
            assert display_id in (True, self.display_id)
            return self

    def update(self, value: Any) -> None:
        with self.changed:
            self.shown.append(("update", value))
            self.changed.notify_all()
        if self.breaks:
            raise RuntimeError("the notebook is gone")

    def until(self, words: str) -> str:
        """Wait until the table says ``words``."""
        with self.changed:
            assert self.changed.wait_for(lambda: words in self.text, 30), self.text
            return self.text

    @property
    def text(self) -> str:
        return str(page(self.shown[-1][1]._repr_html_()).text)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    made = Notebook()
    ipython, shows = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = lambda: made  # type: ignore[attr-defined]
    shows.display = made.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", shows)
    return made


@pytest.fixture
def fake() -> FakeBackend:
    return FakeBackend(seed=1)


@pytest.fixture
def manager(fake: FakeBackend) -> Iterator[VMManager]:
    with VMManager(fake) as made:
        yield made


def test_a_table_is_shown_at_once_and_moves_with_events(
    fake: FakeBackend, manager: VMManager, notebook: Notebook
) -> None:
    with manager.watch():
        assert [kind for kind, _ in notebook.shown][:1] == ["display"]
        assert "0 VMs" in page(notebook.shown[0][1]._repr_html_()).text
        manager.allocate(VMConfig("zebra", "x"))
        notebook.until("1 running")
        manager.allocate(VMConfig("ant", "x"))
        text = notebook.until("2 running")
        assert text.index("zebra") < text.index("ant")
        fake.crash("ant", code=3)
        assert "exited with code 3" in notebook.until("1 failed")


def test_without_events_nothing_is_drawn(
    manager: VMManager, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watch, "_LEAST_BETWEEN", 0.0)
    manager.allocate(VMConfig("web", "x"))
    with manager.watch() as watch:
        notebook.until("web")
        with notebook.changed:
            assert notebook.changed.wait_for(lambda: len(notebook.shown) == 2, 30)
            assert not notebook.changed.wait(0.3)
        watch.stop()
        assert len(notebook.shown) == 3


def test_a_burst_of_events_is_one_picture(
    fake: FakeBackend, manager: VMManager, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watch, "_LEAST_BETWEEN", 3600.0)
    fake.program("web", FakeProgram(exit_after=1.0, exit_code=1))
    with manager.watch():
        with notebook.changed:
            assert notebook.changed.wait_for(lambda: len(notebook.shown) == 2, 30)
        vm = manager.allocate(VMConfig("web", "x", restart="on-failure"))
        manager.wait(vm, VMState.FAILED)
        assert len(manager.history()) > 20
        with notebook.changed:
            assert not notebook.changed.wait(0.3)
    assert len(notebook.shown) == 3
    assert "1 failed" in notebook.text


def test_stop_draws_a_last_time_undoes_everything_and_may_be_said_again(
    manager: VMManager, notebook: Notebook
) -> None:
    watch = manager.watch()
    manager.allocate(VMConfig("web", "x"))
    watch.stop()
    assert "1 running" in notebook.text
    number = len(notebook.shown)
    watch.close()
    watch.stop()
    manager.allocate(VMConfig("db", "x"))
    assert len(notebook.shown) == number
    assert not [t for t in threading.enumerate() if t.name == "procvm-watch"]
    assert manager.core.engine.listeners == []
    assert repr(watch) == "<Watch of VMManager stopped>"


def test_a_watch_ends_with_its_manager(fake: FakeBackend, notebook: Notebook) -> None:
    manager = VMManager(fake)
    manager.allocate(VMConfig("web", "x"))
    manager.watch()
    manager.watch()
    manager.close()
    assert "VMManager (closed): 1 VM" in notebook.text
    assert "was ended by SIGTERM" in notebook.text
    assert not [t for t in threading.enumerate() if t.name == "procvm-watch"]
    with pytest.raises(ManagerClosedError):
        manager.watch()


def test_a_watch_holds_no_forgotten_manager(fake: FakeBackend, notebook: Notebook) -> None:
    manager = VMManager(fake)
    watch = manager.watch()
    with pytest.warns(ResourceWarning, match="forgotten"):
        del manager
    notebook.until("(closed)")
    watch.stop()


def test_real_programs_are_watched_and_hostile_names_stay_words(notebook: Notebook) -> None:
    with VMManager() as manager, manager.watch():
        manager.allocate(VMConfig(HOSTILE, ["sleep", "1000"]))
        assert HOSTILE in notebook.until("1 running")
        manager.remove(HOSTILE)
        notebook.until("0 VMs")


def test_a_notebook_that_is_gone_harms_no_vm(
    manager: VMManager, notebook: Notebook, caplog: pytest.LogCaptureFixture
) -> None:
    with manager.watch():
        notebook.breaks = True
        manager.allocate(VMConfig("web", "x"))
        notebook.until("1 running")
    assert manager.get("web").state is VMState.RUNNING
    assert "could not be drawn" in caplog.text


def test_a_later_cell_shows_it_again_and_the_first_one_only_once(
    manager: VMManager, notebook: Notebook
) -> None:
    with manager.watch() as watch:
        watch._ipython_display_()
        assert [kind for kind, _ in notebook.shown].count("display") == 1
        notebook.execution_count = 2
        watch._ipython_display_()
        assert [kind for kind, _ in notebook.shown].count("display") == 2


def test_where_html_is_not_shown_there_is_text(manager: VMManager, notebook: Notebook) -> None:
    vm = manager.allocate(VMConfig("web", "x"))
    manager.allocate(VMConfig("database", "x"))
    with manager.watch():
        lines = repr(notebook.shown[0][1]).splitlines()
    assert lines[0].split() == ["name", "state", "pid", "generation", "restarts", "why"]
    assert lines[1].split() == ["web", "running", str(vm.pid), "1", "0", "running"]
    assert lines[1].index("running") == lines[2].index("running")


def test_the_async_face_watches_too(notebook: Notebook) -> None:
    import asyncio

    async def main() -> None:
        async with AsyncVMManager(FakeBackend()) as manager:
            with manager.watch():
                await manager.allocate(VMConfig("web", "x"))
                notebook.until("AsyncVMManager: 1 VM (1 running)")

    asyncio.run(main())


def test_without_ipython_it_says_what_is_missing(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    with pytest.raises(ImportError, match=r"needs IPython.*list\(\)") as caught:
        manager.watch()
    assert caught.value.name == "IPython"
    assert manager.core.engine.listeners == []


def test_outside_of_a_notebook_it_says_so(
    manager: VMManager, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    with pytest.raises(RuntimeError, match=r"runs in none.*subscribe\(\)"):
        manager.watch()


def test_a_watch_and_a_subscriber_that_come_together_are_both_heard(
    manager: VMManager, notebook: Notebook
) -> None:
    came: list[Any] = []
    thread = threading.Thread(target=lambda: came.append(manager.watch()))
    with manager.core._listening:  # as a subscriber holds it who is half added
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join()
    assert len(manager.core.engine.listeners) == 1
    came[0].stop()
    assert manager.core.engine.listeners == []
