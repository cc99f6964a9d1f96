"""A VM as a fixture of a conftest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from .._callable import why_not
from ..config import VMConfig, config_from
from ..errors import ConfigError, ManagerClosedError, ProcVMError, VMNotFoundError
from ..manager import VMManager
from ..values import VM

__all__ = ["vm_fixture"]

_OURS = ("vm_manager", "vm_manager_session", "fake_vm_manager")
_SCOPES = ("function", "class", "module", "package", "session")
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

    Raises:
        ConfigError: ``name`` is none for a fixture, ``scope`` is none, or ``config`` neither a
            configuration that can work nor a function that takes the request.
    """
    _check(name, config, scope)
    import pytest  # noqa: PLC0415 - only tests have it

    def for_a_test(request: Any, vm_manager: VMManager) -> Iterator[VM]:
        __tracebackhide__ = True  # of the fixture there is nothing to see here
        yield from _started(name, config, request, vm_manager)

    def for_longer(request: Any, vm_manager_session: VMManager) -> Iterator[VM]:
        __tracebackhide__ = True
        yield from _started(name, config, request, vm_manager_session)

    made = for_a_test if scope == "function" else for_longer
    made.__doc__ = f"A VM, started for each {scope}: procvm.testing.vm_fixture({name!r}, ...)."
    return pytest.fixture(name=name, scope=scope)(made)


def _check(name: Any, config: Any, scope: str) -> None:
    if not isinstance(name, str) or not name.isidentifier() or name in _OURS:
        why = "must be a name by which tests ask for it, and none of the plugin's"
        raise ConfigError("name", name, why)
    if scope not in _SCOPES:
        raise ConfigError("scope", scope, f"must be one of {', '.join(_SCOPES)}")
    if callable(config):
        if why_not(config, None):
            why = "must take one argument, pytest's request: lambda request: VMConfig(...)"
            raise ConfigError("config", config, why)
    elif isinstance(config, Mapping):
        config_from(config)
    elif not isinstance(config, VMConfig):
        why = "must be a VMConfig, a mapping, or a function of pytest's request that returns one"
        raise ConfigError("config", config, why)


def _started(name: str, config: Any, request: Any, manager: VMManager) -> Iterator[VM]:
    __tracebackhide__ = True
    try:
        given = config(request) if callable(config) else config
    except Exception as e:
        e.add_note(
            f"in the function of vm_fixture({name!r}, ...), which is given pytest's request"
        )
        raise
    try:
        vm = manager.allocate(given)
    except ProcVMError as e:
        e.add_note(f"in vm_fixture({name!r}, ...)")
        raise
    yield vm
    try:
        manager.remove(vm)
    except (VMNotFoundError, ManagerClosedError):
        pass  # a test has removed it, which is its right
