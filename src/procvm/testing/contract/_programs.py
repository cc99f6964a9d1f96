"""The programs that the checks run: each as a command, and as a script for a fake."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ...backends.fake import FakeProgram
from ...errors import StartError

__all__ = ["LONG", "PROGRAMS", "Program"]


@attrs.frozen
class Program:
    """One program of the checks.

    Attributes:
        command: What does it on a POSIX system.
        script: The same for a fake; what it does, said precisely.
    """

    command: tuple[str, ...]
    script: FakeProgram


LONG = Program(("sleep", "1000"), FakeProgram())
_LOUD = "".join(f"{number}\n" for number in range(1, 2001))

PROGRAMS: Mapping[str, Program] = {  # by the names of the VMs; every other name is LONG
    "quick": Program(("true",), FakeProgram(exit_after=0.0)),
    "bad": Program(("sh", "-c", "exit 3"), FakeProgram(exit_after=0.0, exit_code=3)),
    "deaf": Program(
        ("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1000; done"),
        FakeProgram(ignores=(15,), output=((0.0, "stdout", "deaf\n"),)),
    ),
    "says": Program(
        ("echo", "hello"), FakeProgram(exit_after=0.0, output=((0.0, "stdout", "hello\n"),))
    ),
    "moans": Program(
        ("sh", "-c", "echo moan >&2"),
        FakeProgram(exit_after=0.0, output=((0.0, "stderr", "moan\n"),)),
    ),
    "loud": Program(
        ("seq", "2000"), FakeProgram(exit_after=0.0, output=((0.0, "stdout", _LOUD),))
    ),
    "serves": Program(
        ("sh", "-c", "echo up; exec sleep 1000"),
        FakeProgram(output=((0.0, "stdout", "up\n"),)),
    ),
    "sick": Program(("sleep", "1000"), FakeProgram(probes=((0.0, False, "no answer"),))),
    "family": Program(
        ("sh", "-c", "sleep 1000 & echo $!; wait"),
        FakeProgram(output=((0.0, "stdout", "4194305\n"),)),
    ),
    "orphans": Program(
        ("sh", "-c", "sleep 1000 & echo $!"),
        FakeProgram(exit_after=0.0, output=((0.0, "stdout", "4194305\n"),)),
    ),
    "tells": Program(
        ("sh", "-c", 'echo "$PROCVM_GIVEN"; pwd'),
        FakeProgram(exit_after=0.0, output=((0.0, "stdout", "given\n/\n"),)),
    ),
    "absent": Program(
        ("no-such-program-anywhere",), FakeProgram(start_error=StartError("no such program"))
    ),
}
