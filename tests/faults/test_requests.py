"""Faults of requests: each is answered, can be sent on, and the next one works."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from procvm import FakeBackend, VMConfig, VMManager, protocol

NOW = 1_700_000_000.0


@pytest.fixture
def dispatcher() -> Iterator[protocol.Dispatcher]:
    with VMManager(FakeBackend()) as manager:
        manager.allocate(VMConfig("kept", ["kept"]))
        yield protocol.Dispatcher(manager)
        assert [vm.name for vm in manager.list()] == ["kept"]


def failed(dispatcher: protocol.Dispatcher, request: Any) -> dict[str, Any]:
    began = time.monotonic()
    answer = dispatcher.handle(request)
    assert time.monotonic() - began < 30
    assert answer["result"]["status"] == "failed"
    json.dumps(answer, allow_nan=False).encode()
    assert len(answer["result"]["message"]) < 1000
    good = dispatcher.handle({"method": "get_health", "timestamp": NOW})
    assert good["result"] == {"status": "success", "health": "good"}
    return answer


@pytest.mark.parametrize("request_", [None, 7, [], "x", b"x", iter(()), object(), NOW])
def test_72_what_is_no_mapping_is_no_request(
    dispatcher: protocol.Dispatcher, request_: Any
) -> None:
    failed(dispatcher, request_)


@pytest.mark.parametrize(
    "method", [None, "", "destroy", "__class__", "_private", "handle", 7, [], {}, object()]
)
def test_73_methods_are_a_fixed_table(dispatcher: protocol.Dispatcher, method: Any) -> None:
    failed(dispatcher, {"method": method, "timestamp": NOW})
    failed(dispatcher, {"timestamp": NOW})


@pytest.mark.parametrize("vm_id", [True, 7, 1.0, None, b"kept", {}, [], {"a": 1}, "x" * 10**6])
def test_74_an_identity_is_text_and_never_made_text(
    dispatcher: protocol.Dispatcher, vm_id: Any
) -> None:
    failed(dispatcher, {"method": "remove_vm", "args": {"vm_id": vm_id}, "timestamp": NOW})


@pytest.mark.parametrize("args", [None, [], "x", 7, {}, {"config": None}, {"config": {"a": 1}}])
def test_74_arguments_are_a_mapping(dispatcher: protocol.Dispatcher, args: Any) -> None:
    failed(dispatcher, {"method": "allocate_vm", "args": args, "timestamp": NOW})


@pytest.mark.parametrize(
    "timestamp",
    [
        float("nan"),
        float("inf"),
        float("-inf"),
        "1",
        True,
        None,
        [],
        pytest.param(10**400, id="long"),
    ],
)
def test_75_a_time_is_a_finite_number(dispatcher: protocol.Dispatcher, timestamp: Any) -> None:
    failed(dispatcher, {"method": "get_vms", "timestamp": timestamp})
    failed(dispatcher, {"method": "get_vms"})


@pytest.mark.parametrize("timestamp", [-1.0, 1e308, 0, NOW])
def test_75_any_finite_number_is_a_time(dispatcher: protocol.Dispatcher, timestamp: Any) -> None:
    answer = dispatcher.handle({"method": "get_vms", "timestamp": timestamp})
    assert answer["result"]["status"] == "success"


@pytest.mark.parametrize("kind", ["dicts", "lists", "cycle"])
def test_76_depth_without_end_is_answered(dispatcher: protocol.Dispatcher, kind: str) -> None:
    deep: Any = {} if kind == "dicts" else []
    for _ in range(10_000):
        deep = {"a": deep} if kind == "dicts" else [deep]
    if kind == "cycle":
        deep = {}
        deep["a"] = deep
    failed(dispatcher, {"method": "allocate_vm", "args": {"config": deep}, "timestamp": NOW})
    failed(dispatcher, {"method": "destroy", "args": deep, "timestamp": NOW})


@pytest.mark.parametrize("where", ["name", "path", "method"])
def test_77_what_is_long_is_not_repeated_in_messages(
    dispatcher: protocol.Dispatcher, where: str
) -> None:
    long = "x" * 10_000_000
    config = {"name": "x", "path": ".", "command": "x"} | (
        {} if where == "method" else {where: long}
    )
    method = long if where == "method" else "allocate_vm"
    if where == "path":  # a fake looks at no file: the name decides
        config["name"] = ""
    failed(dispatcher, {"method": method, "args": {"config": config}, "timestamp": NOW})


@pytest.mark.parametrize(
    "value",
    [b"x", {1}, object(), Decimal(1), "\ud800", pytest.param(10**5000, id="digits"), float("nan")],
)
def test_78_79_what_is_no_plain_data_is_replaced_where_it_stands(
    dispatcher: protocol.Dispatcher, value: Any
) -> None:
    request = {"method": "remove_vm", "args": {"vm_id": value, "more": "kept"}, "timestamp": NOW}
    answer = failed(dispatcher, request)
    assert answer["request"]["args"]["more"] == "kept"
    assert isinstance(answer["request"]["args"]["vm_id"], str)


class Hostile(dict[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("hostile")

    def items(self) -> Any:
        raise RuntimeError("hostile")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("hostile")

    def __hash__(self) -> int:  # type: ignore[override]
        raise RuntimeError("hostile")


def test_80_a_hostile_mapping_is_answered(dispatcher: protocol.Dispatcher) -> None:
    failed(dispatcher, Hostile(method="get_vms"))
    failed(dispatcher, {"method": "remove_vm", "args": Hostile(vm_id="kept"), "timestamp": NOW})
    failed(dispatcher, {"method": Hostile(), "timestamp": NOW})


def test_81_a_request_that_changes_meanwhile_is_read_once(dispatcher: protocol.Dispatcher) -> None:
    args: dict[str, Any] = {"vm_id": "absent"}
    request = {"method": "remove_vm", "args": args, "timestamp": NOW}
    ended = threading.Event()

    def change() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            args[f"key{number % 50}"] = number
            args.pop(f"key{(number + 25) % 50}", None)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(200):
            failed(dispatcher, request)
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize(
    "body",
    [b"{", b"\xef\xbb\xbf{}", b'{"a": NaN}', b"\xff\xfe", b"[" * 200_000, b'{"a":1,"a":2}', b""],
)
def test_82_what_a_transport_reads_is_answered_whatever_it_is(
    dispatcher: protocol.Dispatcher, body: bytes
) -> None:
    """As an example's server does: what is no JSON goes on as what it is."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        request = body
    failed(dispatcher, request)
