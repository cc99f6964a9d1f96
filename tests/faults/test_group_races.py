"""A child forked at the very moment of a look is found by the next: nothing of a group escapes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from procvm import StopPolicy, SubprocessBackend, VMConfig, VMManager

SHAPES = ["(setsid sleep 1000 & :); sleep 1000", "setsid sleep 1000 & sleep 1000"]


@pytest.fixture
def busy() -> Iterator[None]:
    """Let others compute without pause, so that what is looked at is interrupted anywhere."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    yield
    for other in others:
        other.kill()
        other.wait()


@pytest.mark.parametrize("containment", ["tree", "group"])
@pytest.mark.parametrize("shape", SHAPES)
def test_39_what_is_forked_while_its_tree_is_looked_at_is_found(
    busy: None, tmp_path: Path, containment: str, shape: str
) -> None:
    with VMManager(SubprocessBackend(containment)) as manager:  # type: ignore[arg-type]
        for number in range(60):
            fifo = tmp_path / str(number)
            os.mkfifo(fifo)
            pipe = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
            words = f"exec 9>{fifo}; echo up; {shape}"
            config = VMConfig("x", ["sh", "-c", words], stop=StopPolicy(grace=0.3))
            vm = manager.allocate(config)
            next(iter(manager.follow(vm)))  # the pipe is held from here on, by all below it
            manager.remove(vm)
            assert os.read(pipe, 1) == b"", number  # BlockingIOError: somebody holds it still
            os.close(pipe)
