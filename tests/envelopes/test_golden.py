from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from procvm import FakeBackend, VMManager
from procvm.protocol import Dispatcher, decode_request, decode_response, encode_request

HERE = Path(__file__).parent
METHODS = ("allocate_vm", "remove_vm", "reset_vm", "get_health", "get_vms")


def _read(name: str) -> Any:
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("method", METHODS)
def test_a_request_has_the_documented_keys_letter_for_letter(method: str) -> None:
    request = _read(f"{method}.request")
    assert encode_request(decode_request(request)) == request


@pytest.mark.parametrize("method", METHODS)
def test_a_success_is_answered_letter_for_letter(method: str) -> None:
    with VMManager(FakeBackend()) as manager:
        handle = Dispatcher(manager).handle
        if method in ("remove_vm", "reset_vm"):
            handle(_read("allocate_vm.request"))
        assert handle(_read(f"{method}.request")) == _read(f"{method}.success")


@pytest.mark.parametrize("method", METHODS)
def test_a_failure_is_answered_letter_for_letter(method: str) -> None:
    manager = VMManager(FakeBackend())
    manager.close()
    assert Dispatcher(manager).handle(_read(f"{method}.request")) == _read(f"{method}.failure")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["success", "failure"])
def test_every_answer_can_be_decoded(method: str, kind: str) -> None:
    assert decode_response(_read(f"{method}.{kind}")).request == _read(f"{method}.request")
