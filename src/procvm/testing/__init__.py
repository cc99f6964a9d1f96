"""Floor 9, what users need to test: fixtures, a leak check, a contract for backends, strategies.

What needs pytest or hypothesis imports it where it is used. Nothing of procvm imports this floor.
"""

from __future__ import annotations

from ._fixture import vm_fixture
from ._witness import Witness

__all__ = ["Witness", "vm_fixture"]
