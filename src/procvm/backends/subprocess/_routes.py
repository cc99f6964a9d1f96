"""Tells each fact of a holder to whom it is about: a VM, or the command of a probe."""

from __future__ import annotations

from ...errors import StartError
from ...facts import Survivor
from ..base import Key
from ._holds import Holding
from .probing import Commands

__all__ = ["Routes"]


class Routes:
    """A Holding in front of two."""

    def __init__(self, vms: Holding, commands: Commands) -> None:
        self._vms, self._commands = vms, commands

    def _whose(self, key: Key) -> Holding:
        return self._commands if key in self._commands else self._vms

    def held_started(self, key: Key, pid: int, stdout: int, stderr: int) -> None:
        """See Holding."""
        self._whose(key).held_started(key, pid, stdout, stderr)

    def held_failed(self, key: Key, error: StartError) -> None:
        """See Holding."""
        self._whose(key).held_failed(key, error)

    def held_exited(
        self, key: Key, code: int | None, signal: int | None, *, tree_gone: bool, why: str = ""
    ) -> None:
        """See Holding."""
        self._whose(key).held_exited(key, code, signal, tree_gone=tree_gone, why=why)

    def held_gone(self, key: Key) -> None:
        """See Holding."""
        self._whose(key).held_gone(key)

    def held_survived(self, key: Key, survivors: tuple[Survivor, ...]) -> None:
        """See Holding."""
        self._whose(key).held_survived(key, survivors)

    def held_lost(self, key: Key, why: str) -> None:
        """See Holding."""
        self._whose(key).held_lost(key, why)
