from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procvm import ConfigError, Exit, ProtocolError, RestartPolicy, VMConfig, probes
from procvm.protocol import (
    AllocateVM,
    Failed,
    GetHealth,
    GetVMs,
    HealthResult,
    RemoveVM,
    ResetVM,
    Response,
    Succeeded,
    VMInfo,
    VMsResult,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    json_schema,
)  # fmt: skip

CONFIG = VMConfig("web", ["python", "-c", "print('a b')\n"], path="/srv", env={"A": "1"})
REQUESTS: list[Any] = [
    AllocateVM(CONFIG, 1.5),
    RemoveVM("web", 2.0),
    ResetVM("web", -1),
    GetHealth(0.0),
    GetVMs(1e300),
]
INFO = VMInfo(
    "0" * 32, "web", ".", "sleep 5", "running", None, 1, 0, True, 1.5, Exit(None, 9, 3.0)
)
RESULTS: list[Any] = [
    Succeeded("process started successfully", "0" * 32),
    Succeeded("process kill successfully"),
    HealthResult("bad"),
    VMsResult((INFO,)),
    Failed("process failed to start", "config", "name: why", None, "name"),
    Failed("unable to get health"),
]
GET: dict[str, Any] = {"method": "get_health", "timestamp": 1.0}


@pytest.mark.parametrize("message", REQUESTS)
def test_a_request_comes_back_equal_through_json(message: Any) -> None:
    data = json.loads(json.dumps(encode_request(message), allow_nan=False))
    assert decode_request(data) == message


@pytest.mark.parametrize("result", RESULTS)
def test_a_response_comes_back_equal_through_json(result: Any) -> None:
    response = Response(GET, result)
    data = json.loads(json.dumps(encode_response(response, dialect="extended"), allow_nan=False))
    assert decode_response(data) == response


def test_decoding_and_encoding_leaves_the_documented_keys_alone() -> None:
    data = {
        "method": "remove_vm", "args": {"vm_id": "a", "x": 1}, "timestamp": 1, "y": 2,
    }  # fmt: skip
    assert encode_request(decode_request(data)) == {
        "method": "remove_vm", "args": {"vm_id": "a"}, "timestamp": 1,
    }  # fmt: skip


def test_the_documented_dialect_cuts_no_config_down() -> None:
    config = VMConfig("web", "sleep 5", restart="always")
    with pytest.raises(ProtocolError) as caught:
        encode_request(AllocateVM(config, 1.0))
    assert caught.value.path == "args.config.restart"


def test_the_extended_dialect_carries_everything_but_a_function() -> None:
    config = VMConfig(
        "web", "sleep 5", restart=RestartPolicy(limit=None), ready=probes.tcp(80), user=0
    )
    message = AllocateVM(config, 1.0)
    data = json.loads(json.dumps(encode_request(message, dialect="extended")))
    assert decode_request(data, dialect="extended") == message
    with pytest.raises(ConfigError):
        decode_request(data)
    called = VMConfig("web", "sleep 5", ready=probes.call(list))
    with pytest.raises(ProtocolError, match="a function is no data"):
        encode_request(AllocateVM(called, 1.0), dialect="extended")


@pytest.mark.parametrize("vm_id", [True, None, 1, 1.0, b"a", {}, [], "\ud800"])
def test_a_vm_id_is_text_and_nothing_else(vm_id: Any) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_request({"method": "remove_vm", "args": {"vm_id": vm_id}, "timestamp": 1})
    assert caught.value.path == "args.vm_id"


@pytest.mark.parametrize("timestamp", [True, None, "1", float("nan"), float("inf"), 10**400, []])
def test_a_timestamp_is_a_finite_number(timestamp: Any) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_request({**GET, "timestamp": timestamp})
    assert caught.value.path == "timestamp"


@pytest.mark.parametrize("env", [{"A": b"x"}, {1: "x"}, {"A": 1}, {"A": None}, None, []])
def test_a_wrong_environment_is_refused_and_never_replaced(env: Any) -> None:
    config = {"name": "web", "path": ".", "command": "x", "env": env}
    with pytest.raises((ProtocolError, ConfigError)):
        decode_request({"method": "allocate_vm", "args": {"config": config}, "timestamp": 1})


def test_what_is_ignored_may_be_anything() -> None:
    assert decode_request({**GET, "x": object(), 1: 2}) == GetHealth(1.0)


@pytest.mark.parametrize(
    "response",
    [None, {}, {"result": {}}, {"result": {"status": "success"}}, {"result": {"status": "x"}},
     {"result": {"status": "success", "health": []}}, {"result": {"status": "failed"}},
     {"result": {"status": "success", "process": [{}]}},
     {"result": {"status": "success", "message": float("nan")}}],
)  # fmt: skip
def test_a_response_that_is_none_is_a_protocol_error(response: Any) -> None:
    with pytest.raises(ProtocolError):
        decode_response(response)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_any_command_survives_being_one_string(words: list[str]) -> None:
    message = AllocateVM(VMConfig("web", ["x", *words]), 1.0)
    assert decode_request(encode_request(message)) == message


def test_the_schema_accepts_every_message_and_refuses_others() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for message in REQUESTS:
        validator.validate(encode_request(message))
    config = VMConfig("web", "x", ready=probes.all_of(probes.tcp(1), probes.http("http://a/")))
    extended = {**schema, "$ref": "#/$defs/allocate_vm.request.extended"}
    del extended["oneOf"]
    data = encode_request(AllocateVM(config, 1.0), dialect="extended")
    jsonschema.Draft202012Validator(extended).validate(data)
    answers = {**extended, "$ref": "#/$defs/get_vms.response"}
    answer = encode_response(Response(GET, VMsResult((INFO,))))
    jsonschema.Draft202012Validator(answers).validate(answer)
    for wrong in ({}, None, {**GET, "method": "x"}, {**GET, "timestamp": "1"}, data):
        assert not validator.is_valid(wrong)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab $#\\'\"\t\n~;&é\xa0"), max_size=8))
def test_a_command_is_split_as_a_shell_would_split_it(command: str) -> None:
    config = {"name": "web", "path": ".", "command": command, "env": {}}
    request = {"method": "allocate_vm", "args": {"config": config}, "timestamp": 1}
    try:
        wanted = VMConfig("web", command)
    except ConfigError:
        with pytest.raises(ConfigError):
            decode_request(request)
    else:
        assert decode_request(request) == AllocateVM(wanted, 1)
