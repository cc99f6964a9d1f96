"""What holds for every test: it leaves no process, no thread and no descriptor behind."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from procvm import SubprocessBackend, VMManager


def children() -> set[int]:
    """Return the children of this process that are no zombies of somebody else's making."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found |= {int(pid) for pid in (task / "children").read_text().split()}
        except OSError:
            continue
    return found


def descriptors() -> int:
    """Return how many descriptors are open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted alone


@pytest.fixture(autouse=True)
def _leaves_nothing() -> Iterator[None]:
    before, threads, fds = children(), set(threading.enumerate()), descriptors()
    yield
    deadline = time.monotonic() + 10.0
    left: object = None
    while time.monotonic() < deadline:
        gc.collect()
        more = {t for t in threading.enumerate() if t not in threads and "procvm" in t.name}
        left = (children() - before, more, max(0, descriptors() - fds))
        if left == (set(), set(), 0):
            return
        time.sleep(0.01)  # what ends by event has no event for us
    pytest.fail(f"left behind (children, threads, descriptors): {left}")


@pytest.fixture(params=["tree", "group"])
def manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    """Make a manager of real processes, in either containment."""
    with VMManager(SubprocessBackend(request.param)) as made:
        yield made
