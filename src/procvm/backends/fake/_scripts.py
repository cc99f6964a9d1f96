"""Which script is whose, and what may be wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..._near import near_names
from ._program import FakeProgram

__all__ = ["Scripts"]

_NONE = (FakeProgram(),)
_DIGITS = re.compile(r"\d")  # worker-1 is no slip of worker-2
_FEW = 3  # VMs, or scripts, of which an error tells


class Scripts:
    """The scripted lives of VMs, by name."""

    def __init__(self) -> None:
        self._scripts: dict[str, tuple[FakeProgram, ...]] = {}
        self._unplayed: set[str] = set()  # those that no VM has asked for
        self._untold: set[str] = set()  # VMs not yet looked at for a script of a near name

    def add(self, name: str, programs: tuple[FakeProgram, ...], *, is_there: bool) -> None:
        """Script the lives of ``name``; ``is_there``: whether there is such a VM now."""
        self._scripts[name] = programs
        if not is_there:
            self._unplayed.add(name)

    def has(self, name: str) -> bool:
        """Tell whether ``name`` has one."""
        return name in self._scripts

    def play(self, name: str, generation: int) -> FakeProgram:
        """Return what a VM does in this life."""
        self._unplayed.discard(name)
        if self._unplayed and generation == 1:
            self._untold.add(name)
        return self._life(name, generation)

    def _life(self, name: str, generation: int) -> FakeProgram:
        script = self._scripts.get(name, _NONE)
        return script[min(generation, len(script)) - 1]

    def slips(self, names: Iterable[str]) -> list[str]:
        """Say which of these VMs has no script, while one of nearly its name is nobody's."""
        missing = [name for name in names if name not in self._scripts]
        if not missing or not self._unplayed:
            return []
        found = []
        unplayed = sorted(self._unplayed)
        for name in sorted(missing):
            bare = _DIGITS.sub("", name)
            others = {one.casefold(): one for one in unplayed if _DIGITS.sub("", one) != bare}
            found += [
                f"VM {name!r} has no script, and no VM has the name of the script {others[near]!r}"
                for near in near_names(name.casefold(), others)[:1]
            ]
        return found

    def untold_slips(self) -> list[str]:
        """Return those of VMs that were not looked at before."""
        untold, self._untold = self._untold, set()
        return self.slips(untold)

    def doubts(self, lives: Iterable[tuple[str, int, FakeProgram | None]]) -> list[str]:
        """Say why of these VMs, each in this life and playing that, nothing more may come."""
        lives = sorted(lives, key=lambda life: life[:2])
        found = self.slips(name for name, _, _ in lives)
        missing = [name for name, _, _ in lives if name not in self._scripts]
        vms = ", ".join(map(repr, missing[:_FEW]))
        if missing and self._unplayed and not found:
            scripts = ", ".join(map(repr, sorted(self._unplayed)[:_FEW]))
            found = [f"VMs without a script: {vms}; scripts without a VM: {scripts}"]
        elif missing and not found:
            found = [f"without a script, and so silent until they are stopped: {vms}"]
        for name, generation, plays in lives:
            program = self._life(name, generation)
            if plays is not None and plays != program:
                found.append(f"the script of {name!r} was set after its start: its next one plays")
                program = plays
            how = f"exit_code={program.exit_code}" if program.exit_code else ""
            how = f"exit_signal={program.exit_signal}" if program.exit_signal else how
            if how and program.exit_after is None:
                found.append(f"the script of {name!r} has {how} and no exit_after: it never ends")
        return found[:_FEW]
