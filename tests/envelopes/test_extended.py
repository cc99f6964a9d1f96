from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from procvm import FakeBackend, VMManager
from procvm.protocol import Dispatcher, decode_request, decode_response, encode_request

HERE = Path(__file__).parent
METHODS = ("allocate_vm", "remove_vm", "reset_vm", "get_health", "get_vms", "get_vms_usage")


def _read(name: str) -> Any:
    return json.loads((HERE / "extended" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("method", METHODS)
def test_a_request_of_more_keys_comes_back_letter_for_letter(method: str) -> None:
    request = _read(f"{method}.request")
    message = decode_request(request, dialect="extended")
    assert encode_request(message, dialect="extended") == request


@pytest.mark.parametrize("method", METHODS)
def test_a_success_of_more_keys_is_answered_letter_for_letter(method: str) -> None:
    with VMManager(FakeBackend()) as manager:
        handle = Dispatcher(manager, dialect="extended").handle
        if method != "allocate_vm":
            handle(_read("allocate_vm.request"))
        assert handle(_read(f"{method}.request")) == _read(f"{method}.success")


@pytest.mark.parametrize("method", METHODS)
def test_a_failure_has_its_code_beside_the_documented_words(method: str) -> None:
    manager = VMManager(FakeBackend())
    handle = Dispatcher(manager, dialect="extended").handle
    if method == "allocate_vm":
        handle(_read("allocate_vm.request"))
    elif method.startswith("get_"):
        manager.close()
    answer, wanted = handle(_read(f"{method}.request")), _read(f"{method}.failure")
    manager.close()
    assert answer["result"]["error"].pop("message")
    assert wanted["result"]["error"].pop("message")
    assert answer == wanted


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["success", "failure"])
def test_every_extended_answer_can_be_decoded(method: str, kind: str) -> None:
    assert decode_response(_read(f"{method}.{kind}")).request == _read(f"{method}.request")
