"""Floor 5, whatever runs programs: the contract, real processes, and a fake in virtual time.

It decides nothing about a VM's life and never imports the engine.
"""

from __future__ import annotations

from .base import Backend, Capabilities, Key, Listener, Plan, Sink, Timer, Waiter

__all__ = [
    "Backend",
    "Capabilities",
    "Key",
    "Listener",
    "Plan",
    "Sink",
    "Timer",
    "Waiter",
]
