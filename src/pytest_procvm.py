"""The pytest plugin: managers as fixtures, and their VMs in the report of a failing test.

It imports nothing of procvm until a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from procvm import VMManager

_MANAGERS = pytest.StashKey[list[Any]]()
_LAST_LINES = 40


def _kept(request: pytest.FixtureRequest, manager: VMManager) -> VMManager:
    request.node.stash.setdefault(_MANAGERS, []).append(manager)
    return manager


@pytest.fixture
def vm_manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    """A VMManager over real processes; everything allocated in the test is gone after it."""
    from procvm import VMManager  # noqa: PLC0415 - who installs procvm pays nothing until now

    with VMManager() as manager:
        yield _kept(request, manager)


@pytest.fixture(scope="session")
def vm_manager_session() -> Iterator[VMManager]:
    """A VMManager over real processes for the whole session, one for each worker."""
    from procvm import VMManager  # noqa: PLC0415 - the same

    with VMManager() as manager:
        yield manager


@pytest.fixture
def fake_vm_manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    """A VMManager over a FakeBackend, which is its ``backend``."""
    from procvm import FakeBackend, VMManager  # noqa: PLC0415 - the same

    with VMManager(FakeBackend()) as manager:
        yield _kept(request, manager)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Add a section for each VM to the report of a test that failed."""
    report = yield
    if report.failed:
        for manager in item.stash.get(_MANAGERS, []):
            for title, text in _sections(manager):
                report.sections.append((title, text))
    return report


def _sections(manager: Any) -> list[tuple[str, str]]:
    last = {event.vm.vm_id: event.vm for event in manager.history()}
    return [
        (
            f"VM {vm.name}: {vm.state}, {vm.reason}",
            "\n".join(f"{line.stream}: {line}" for line in manager.logs(vm, tail=_LAST_LINES)),
        )
        for vm in last.values()
    ]
