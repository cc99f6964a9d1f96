"""procvm: a program owns other programs."""

from __future__ import annotations

from . import probes
from .config import Limits, LogPolicy, RestartPolicy, StopPolicy, VMConfig
from .facts import Exit, LogLine, Survivor, Usage, VMState
from .values import VM, HealthReport, VMEvent
from .errors import *  # noqa: F403

_HEAVY = {
    "AsyncVMManager": "manager._async",
    "Backend": "backends.base",
    "FakeBackend": "backends.fake",
    "FakeProgram": "backends.fake",
    "SubprocessBackend": "backends.subprocess",
    "VMManager": "manager",
    "protocol": "protocol",
}


def __getattr__(name: str) -> object:
    """Load the heavy names when they are first used."""
    import importlib

    if name not in _HEAVY:
        raise AttributeError(name)
    module = importlib.import_module(f".{_HEAVY[name]}", __name__)
    value = module if name == "protocol" else getattr(module, name)
    globals()[name] = value
    return value
