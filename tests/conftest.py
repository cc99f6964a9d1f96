"""What holds for every test: it leaves no process, no thread and no descriptor behind."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from procvm import SubprocessBackend, VMManager
from procvm.testing import no_leaks


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest test be the first, so that no worker waits for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_crowd.py")


def pytest_collection_finish() -> None:
    """Spare each test's look for leaks the objects of pytest and of all modules: a third of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _leaves_nothing() -> Iterator[None]:
    with no_leaks(patience=10.0):
        yield


@pytest.fixture(params=["tree", "group"])
def manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    """Make a manager of real processes, in either containment."""
    with VMManager(SubprocessBackend(request.param)) as made:
        yield made
