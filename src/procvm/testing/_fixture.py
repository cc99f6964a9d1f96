"""A VM as a fixture of a conftest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from ..config import VMConfig
from ..errors import ManagerClosedError, VMNotFoundError
from ..manager import VMManager
from ..values import VM

__all__ = ["vm_fixture"]

Config = VMConfig | Mapping[str, Any]


def vm_fixture(
    name: str,
    config: Config | Callable[[Any], Config],
    *,
    scope: Literal["function", "class", "module", "package", "session"] = "function",
) -> Any:
    """Return a fixture that is one VM: started before its first test, gone after its last.

    Its value is the VM's snapshot after the start. It is allocated by ``vm_manager``, or by
    ``vm_manager_session`` where the scope is wider than one test; ask for that fixture as well to
    reset it or to read its log. When it cannot be started the tests that need it are errors, and
    its last lines are in their report.

    Args:
        name: The fixture's name, as tests ask for it.
        config: What to run; or a function of pytest's ``request`` that returns it, where it
            depends on another fixture, a directory or a port say.
        scope: How long it lives, as in ``pytest.fixture``; under xdist in each worker.
    """
    import pytest  # noqa: PLC0415 - only tests have it

    def started(request: Any, manager: VMManager) -> Iterator[VM]:
        vm = manager.allocate(config(request) if callable(config) else config)
        yield vm
        try:
            manager.remove(vm)
        except (VMNotFoundError, ManagerClosedError):
            pass  # a test has removed it, which is its right

    if scope == "function":

        @pytest.fixture(name=name)
        def for_a_test(request: Any, vm_manager: VMManager) -> Iterator[VM]:
            yield from started(request, vm_manager)

        return for_a_test

    @pytest.fixture(name=name, scope=scope)
    def for_longer(request: Any, vm_manager_session: VMManager) -> Iterator[VM]:
        yield from started(request, vm_manager_session)

    return for_longer
