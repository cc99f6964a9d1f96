from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from procvm import FakeBackend, VMManager
from procvm.protocol import Dispatcher

_HEALTH = {"method": "get_health", "timestamp": 1.0}


def _at_depth(levels: int, handle: Callable[[Any], Any], request: Any) -> Any:
    if levels > 0:
        return _at_depth(levels - 1, handle, request)
    return handle(request)


def _room() -> int:
    """Return the deepest level at which a function can still be entered."""
    levels = sys.getrecursionlimit()
    while True:
        try:
            _at_depth(levels, lambda request: request, None)
        except RecursionError:
            levels -= 1
        else:
            return levels


@pytest.mark.parametrize("request_", [_HEALTH, {**_HEALTH, "method": "get_vms"}, [[[1]]], None])
def test_a_caller_near_the_recursion_limit_is_answered(request_: Any) -> None:
    with VMManager(FakeBackend()) as manager:
        dispatcher = Dispatcher(manager)
        deepest = _room() - 2  # the comprehension's own frame, and one for luck
        answers = [_at_depth(deepest - left, dispatcher.handle, request_) for left in range(100)]
        for answer in answers:
            json.dumps(answer)
            assert answer["result"]["status"] in ("success", "failed")
        assert answers[0]["result"]["status"] == "failed"  # there was no room for it
        assert answers[-1] == dispatcher.handle(request_)
