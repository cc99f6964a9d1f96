"""Floor 2, what the user asked for: values that are right or were never made.

It looks at no file, starts nothing and knows no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._policies import Limits, LogPolicy, RestartPolicy, StopPolicy, signal_number
from ._vm import Environment, VMConfig

if TYPE_CHECKING:
    from ._mapping import config_from, config_to

__all__ = [
    "Environment", "Limits", "LogPolicy", "RestartPolicy", "StopPolicy", "VMConfig", "config_from",
    "config_to", "signal_number",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Load the mapping code, and cattrs with it, when it is first used."""
    if name in ("config_from", "config_to"):
        from . import _mapping  # noqa: PLC0415 - cattrs costs 26 ms that a plain start does not need

        return getattr(_mapping, name)
    raise AttributeError(name)
