"""Whether a function takes what it will be given is told without a call, in Python's words."""

from __future__ import annotations

import time
from typing import Any

import pytest

from procvm._callable import why_not
from procvm.testing import vm_fixture


class Unreadable:
    """One that tells no signature."""

    def __init__(self, signature: Any) -> None:
        self.__signature__ = signature

    def __call__(self, *given: Any) -> Any:
        raise AssertionError("it is asked about, and not called")


def test_what_does_not_fit_is_told_in_pythons_words() -> None:
    assert why_not(lambda vm: vm) == "missing a required argument: 'vm'"
    assert why_not(lambda: 1, None) == "too many positional arguments"
    assert "row" in why_not(lambda vm, *, row: row, None)


def test_what_fits_is_silent() -> None:
    assert why_not(lambda vm=1: vm) == why_not(lambda *more: more, None) == why_not(list) == ""


@pytest.mark.parametrize("function", [time.monotonic, dict, Unreadable("none"), Unreadable(1)])
def test_what_tells_no_signature_is_believed(function: Any) -> None:
    assert why_not(function) == ""


def test_a_fixture_s_function_that_tells_no_signature_is_believed() -> None:
    assert vm_fixture("web", Unreadable("none")) is not None
