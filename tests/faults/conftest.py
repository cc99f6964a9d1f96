"""What the fault tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from procvm import SubprocessBackend, VMManager


@pytest.fixture(params=["tree", "group"])
def manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    with VMManager(SubprocessBackend(request.param)) as made:
        yield made
