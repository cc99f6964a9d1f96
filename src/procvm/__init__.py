"""procvm: a program owns other programs, and nothing is left behind.

>>> from procvm import FakeBackend, VMConfig, VMManager
>>> with VMManager(FakeBackend()) as manager:
...     web = manager.allocate(VMConfig("web", ["python", "-m", "http.server"]))
...     web.state.value, manager.health().status
('running', 'good')
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .config import Limits, LogPolicy, RestartPolicy, StopPolicy, VMConfig
from .errors import (
    AnswerTimeoutError,
    ConfigError,
    DuplicateNameError,
    ExitedBeforeReadyError,
    ForkedManagerError,
    ManagerClosedError,
    NotExecutableError,
    PolicyError,
    ProcVMError,
    ProgramNotFoundError,
    ProtocolError,
    ReadyTimeoutError,
    RemoteError,
    ResourceError,
    StartError,
    StartInterruptedError,
    StopError,
    UnreachableStateError,
    VMNotFoundError,
    WaitTimeoutError,
    WorkingDirectoryError,
)  # fmt: skip
from .facts import Exit, LogLine, Survivor, Usage, VMState
from .values import VM, HealthReport, VMEvent

if TYPE_CHECKING:
    from . import plot, probes, protocol
    from .backends import Backend
    from .backends.fake import FakeBackend, FakeProgram
    from .backends.subprocess import SubprocessBackend
    from .manager import VMManager
    from .manager._async import AsyncVMManager

__all__ = [
    "VM", "AnswerTimeoutError", "AsyncVMManager", "Backend", "ConfigError", "DuplicateNameError",
    "Exit", "ExitedBeforeReadyError", "FakeBackend", "FakeProgram", "ForkedManagerError",
    "HealthReport", "Limits", "LogLine", "LogPolicy", "ManagerClosedError", "NotExecutableError",
    "PolicyError", "ProcVMError", "ProgramNotFoundError", "ProtocolError", "ReadyTimeoutError",
    "RemoteError", "ResourceError", "RestartPolicy", "StartError", "StartInterruptedError",
    "StopError", "StopPolicy", "SubprocessBackend", "Survivor", "UnreachableStateError", "Usage",
    "VMConfig", "VMEvent", "VMManager", "VMNotFoundError", "VMState", "WaitTimeoutError",
    "WorkingDirectoryError", "plot", "probes", "protocol",
]  # fmt: skip

_HEAVY = {  # name: the module that brings it, loaded when it is first used
    "AsyncVMManager": "manager._async",
    "Backend": "backends",
    "FakeBackend": "backends.fake",
    "FakeProgram": "backends.fake",
    "SubprocessBackend": "backends.subprocess",
    "VMManager": "manager",
    "plot": "plot",
    "probes": "probes",
    "protocol": "protocol",
}


def __getattr__(name: str) -> object:
    """Load a heavy name when it is first used."""
    if name not in _HEAVY:
        raise AttributeError(f"module 'procvm' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - for the first use of a heavy name alone

    module = import_module(f".{_HEAVY[name]}", __name__)
    value = module if _HEAVY[name] == name else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Name what the window shows: also what is not loaded yet, and nothing that is ours alone."""
    return list(__all__)
