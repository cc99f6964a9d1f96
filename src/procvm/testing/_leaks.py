"""no_leaks: what a block leaves behind is an error that names it."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..backends.subprocess import Member, below, marked
from ..facts import Survivor
from ..manager import seconds
from ._witness import Witness

__all__ = ["LeakError", "no_leaks"]

_DESCRIPTORS = next((d for d in ("/proc/self/fd", "/dev/fd") if os.path.isdir(d)), "")  # noqa: PTH112 - once
_LOOK = 0.01


class LeakError(AssertionError):
    """Something was left behind.

    Attributes:
        processes: Each with its number and its argv; of a VM's main process also the VM's name.
        threads: Their names.
        descriptors: (number, target) of those that are new; when more are open than before.
        managers: What is new and open of procvm, and may hold some of them, in words.
    """

    code = "leak"

    def __init__(
        self, processes: tuple[Survivor, ...] = (), threads: tuple[str, ...] = (),
        descriptors: tuple[tuple[int, str], ...] = (), managers: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        super().__init__(processes, threads, descriptors, managers)
        self.processes, self.threads, self.descriptors = processes, threads, descriptors
        self.managers = managers

    def __str__(self) -> str:
        """Name everything that is left."""
        words = [f"process {one}" for one in self.processes]
        words += [f"thread {name!r}" for name in self.threads]
        words += [f"descriptor {number} -> {target}" for number, target in self.descriptors]
        text = f"{'; '.join(words)}: left behind"  # names first: a summary's line is cut
        if self.managers:
            text += f"; some of it may belong to {', and to '.join(self.managers)}"
        return text


class _Count:
    """What there is at one moment."""

    def __init__(self, witness: Witness) -> None:
        self.processes: set[Member] = {*below(), *witness.strays()}
        self.threads = set(threading.enumerate())
        self.descriptors = _descriptors()
        self.managers = witness.managers()
        vms = [vm for _, several in self.managers.values() for vm in several]
        self.names = {vm.pid: vm.name for vm in vms}
        self.vm_ids = {vm.vm_id for vm in vms}

    def beyond(self, before: _Count) -> LeakError | None:
        """Return what is there now and was not ``before``; None when that is nothing."""
        known = {(member.pid, member.start) for member in before.processes}
        processes = [m for m in self.processes if (m.pid, m.start) not in known]
        if processes and before.vm_ids & self.vm_ids:  # a new process of an old VM is its own
            old = {member.pid for member in marked(before.vm_ids & self.vm_ids)}
            processes = [m for m in processes if m.pid not in old]
        started = self.threads - before.threads
        opened = set(self.descriptors.items()) - set(before.descriptors.items())
        more = len(self.descriptors) > len(before.descriptors)
        if not (processes or started or more):
            return None
        return LeakError(
            tuple(Survivor(m.pid, self._called(m)) for m in sorted(processes, key=self._rank)),
            tuple(sorted(thread.name for thread in started)),
            tuple(sorted(opened)) if more else (),
            tuple(self._opened_since(before)),
        )

    def _opened_since(self, before: _Count) -> Iterator[str]:
        """Name the managers and VMs that are new: they have descriptors of their own."""
        for key, (title, vms) in self.managers.items():
            names = ", ".join(repr(vm.name) for vm in vms if vm.vm_id not in before.vm_ids)
            if key not in before.managers:
                yield f"a {title}{names and f' with VM {names}'} that is open: close it"
            elif names:
                yield f"VM {names} of an older {title}: remove it"

    def _rank(self, member: Member) -> tuple[bool, int]:
        return member.pid not in self.names, member.pid  # the VMs first, then who helps them

    def _called(self, member: Member) -> str:
        name = self.names.get(member.pid)
        return member.command if name is None else f"{member.command}, VM {name!r}"


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir(_DESCRIPTORS) if _DESCRIPTORS else ():  # noqa: PTH208 - numbers
        try:
            found[int(name)] = os.readlink(f"{_DESCRIPTORS}/{name}")  # noqa: PTH115 - the same
        except OSError:
            continue  # the listing's own
    return found


@contextmanager
def no_leaks(*, patience: float = 5.0) -> Iterator[None]:
    """Fail when a block leaves a process, a thread or a descriptor behind, and name it.

    Counted are the processes below this one, whatever carries the mark of a VM that is managed no
    more, Python's threads, and this process's descriptors. A VM that was there before may have
    started anew. An exception that passes through stays what it is, and gets the leftovers as a
    note.

    Procvm's own helpers, the keeper and a thread, stay until the last manager is closed: those of
    managers that are open before are started before, and no leak.

    Args:
        patience: Seconds that what is ending may take.

    Raises:
        LeakError: Something is left.
        ConfigError: ``patience`` is no number of seconds.
    """
    seconds("patience", patience)
    witness = Witness()
    witness.prepare()
    gc.collect()
    before = _Count(witness)
    try:
        try:
            yield
        except BaseException as error:
            left = _wait_for_nothing(witness, before, patience)
            if left is not None:
                error.add_note(str(left))
            raise
        left = _wait_for_nothing(witness, before, patience)
        if left is not None:
            raise left
    finally:
        witness.close()


def _wait_for_nothing(witness: Witness, before: _Count, patience: float) -> LeakError | None:
    """Look until nothing is left, for the ends of others are no events here."""
    end = time.monotonic() + patience
    while True:
        left = _Count(witness).beyond(before)
        if left is not None:
            gc.collect()  # what is in a cycle has been given up
            left = _Count(witness).beyond(before)
        if left is None or time.monotonic() >= end:
            return left
        time.sleep(_LOOK)
