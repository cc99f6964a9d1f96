from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procvm import ConfigError, FakeBackend, VMManager
from procvm.protocol import Dispatcher, Policy


@pytest.fixture
def manager() -> Iterator[VMManager]:
    with VMManager(FakeBackend()) as made:
        yield made


def _allocate(name: str = "web", **more: Any) -> dict[str, Any]:
    config = {"name": name, "path": ".", "command": "sleep 5", "env": {"SECRET": "x"}, **more}
    return {"method": "allocate_vm", "args": {"config": config}, "timestamp": 1.0}


def _ask(method: str, **args: Any) -> dict[str, Any]:
    return {"method": method, "timestamp": 1.0, **({"args": args} if args else {})}


def _checked(response: Any) -> dict[str, Any]:
    json.dumps(response, allow_nan=False, ensure_ascii=False).encode("utf-8")
    assert set(response) == {"request", "result"}
    result: dict[str, Any] = response["result"]
    assert result["status"] in ("success", "failed")
    return result


def test_a_life_in_the_documented_dialect(manager: VMManager) -> None:
    handle = Dispatcher(manager).handle
    request = _allocate()
    assert handle(request) == {
        "request": request,
        "result": {"status": "success", "message": "process started successfully"},
    }
    assert handle(_allocate())["result"] == {
        "status": "failed", "message": "process failed to start",
    }  # fmt: skip
    assert handle(_ask("get_health"))["result"] == {"status": "success", "health": "good"}
    (element,) = handle(_ask("get_vms"))["result"]["process"]
    assert list(element) == [
        "vm_id", "name", "path", "command", "state", "pid", "generation", "restarts", "healthy",
        "started_at", "exit",
    ]  # fmt: skip
    assert element["command"] == "sleep 5"
    assert "x" not in element.values()
    assert handle(_ask("reset_vm", vm_id="web"))["result"] == {
        "status": "success", "message": "process reset successfully",
    }  # fmt: skip
    assert manager.get("web").generation == 2
    assert handle(_ask("remove_vm", vm_id=element["vm_id"]))["result"] == {
        "status": "success", "message": "process kill successfully",
    }  # fmt: skip
    assert manager.list() == []


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("allocate_vm", "process failed to start"),
        ("remove_vm", "process failed to be killed"),
        ("reset_vm", "process failed to be reset"),
        ("get_health", "unable to get health"),
        ("get_vms", "unable to get health"),
    ],
)
def test_every_failure_has_its_documented_words(method: str, message: str) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    wanted = {"status": "failed", "message": message}
    handle = Dispatcher(Broken()).handle
    request = _allocate() if method == "allocate_vm" else _ask(method, vm_id="x")
    assert handle(request)["result"] == wanted
    assert handle({"method": method})["result"] == wanted


@pytest.mark.parametrize("request_", [None, 1, "x", b"x", [], iter([]), {}, {"method": None}])
def test_what_fits_no_method_gets_one_sentence(request_: Any, manager: VMManager) -> None:
    result = _checked(Dispatcher(manager).handle(request_))
    assert set(result) == {"status", "message"}
    assert result["status"] == "failed"


@pytest.mark.parametrize("method", ["__class__", "_call", "close", "", [], {}, 1, "x" * 10**6])
def test_methods_come_from_a_fixed_table(method: Any, manager: VMManager) -> None:
    result = _checked(Dispatcher(manager).handle({"method": method, "timestamp": 1.0}))
    assert "unknown method" in result["message"]
    assert len(result["message"]) < 200


def test_the_extended_dialect_adds_keys_and_changes_none(manager: VMManager) -> None:
    handle = Dispatcher(manager, dialect="extended").handle
    result = handle(_allocate(restart="always"))["result"]
    assert result == {
        "status": "success",
        "message": "process started successfully",
        "vm_id": manager.get("web").vm_id,
    }
    failed = handle(_allocate("other", evn={}))["result"]
    assert failed["message"] == "process failed to start"
    assert failed["error"]["code"] == "config"
    assert failed["error"]["field"] == "config"
    failed = handle(_ask("remove_vm", vm_id=True))["result"]
    assert failed["error"]["code"] == "protocol"
    assert failed["error"]["field"] == "args.vm_id"
    failed = handle(_ask("remove_vm", vm_id="nobody"))["result"]
    assert failed["error"]["code"] == "vm-not-found"


@pytest.mark.parametrize("more", [{"evn": {}}, {"restart": "always"}, {"env": {"A": 1}},
                                  {"name": True}, {"command": None}, {"path": 1}])  # fmt: skip
def test_a_wrong_config_starts_nothing(more: dict[str, Any], manager: VMManager) -> None:
    result = _checked(Dispatcher(manager).handle(_allocate(**more)))
    assert result == {"status": "failed", "message": "process failed to start"}
    assert manager.list() == []


def test_the_callers_request_is_left_alone_and_not_shared(manager: VMManager) -> None:
    request = _allocate()
    answer = Dispatcher(manager).handle(request)["request"]
    answer["args"]["config"]["env"].clear()
    assert request == _allocate()


def test_a_hostile_dict_fails_and_the_next_request_works(manager: VMManager) -> None:
    class Hostile(dict):  # type: ignore[type-arg] # hostile enough
        def __getitem__(self, key: Any) -> Any:
            raise SystemExit

        get = items = keys = __iter__ = __eq__ = __hash__ = __len__ = __getitem__  # type: ignore[assignment]

    handle = Dispatcher(manager).handle
    assert _checked(handle(Hostile(_ask("get_health"))))["status"] == "failed"
    assert _checked(handle({**_ask("remove_vm"), "args": Hostile()}))["status"] == "failed"
    assert _checked(handle(_ask("get_health")))["status"] == "success"


def test_a_closed_manager_is_answered_too() -> None:
    manager = VMManager(FakeBackend())
    manager.close()
    result = Dispatcher(manager, dialect="extended").handle(_ask("get_vms"))["result"]
    assert result["message"] == "unable to get health"
    assert result["error"]["code"] == "manager-closed"


def test_a_dialect_that_there_is_not_is_a_config_error(manager: VMManager) -> None:
    with pytest.raises(ConfigError):
        Dispatcher(manager, dialect="klingon")  # type: ignore[arg-type] # that is the test


class _Weird:
    def __getattr__(self, name: str) -> Any:
        raise ValueError(name)

    def __repr__(self) -> str:
        raise ValueError

    __str__ = __hash__ = __eq__ = __len__ = __iter__ = __repr__  # type: ignore[assignment]


_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.complex_numbers() | st.builds(_Weird) | st.just("\ud800") | st.builds(lambda: 10**5000)
    | st.sampled_from(["web", "remove_vm", "sleep 5"])
)  # fmt: skip
_KEYS = st.sampled_from(["vm_id", "config", "name", "command", "path", "env", "ready", "kind"])
_ANYTHING = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(_KEYS | st.text(), inner, max_size=5)
        | st.dictionaries(st.integers() | st.none(), inner, max_size=2)
        | st.tuples(inner)
    ),
    max_leaves=12,
)
_METHODS = st.sampled_from(["allocate_vm", "remove_vm", "reset_vm", "get_health", "get_vms"])
_NEAR = st.fixed_dictionaries(
    {"method": _METHODS | _ANYTHING, "timestamp": st.floats() | _ANYTHING},
    optional={"args": _ANYTHING, "x": _ANYTHING},
)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(_ANYTHING | _NEAR)
def test_any_object_whatsoever_is_answered(request_: Any) -> None:
    with VMManager(FakeBackend()) as manager:
        for dialect in ("documented", "extended"):
            dispatcher = Dispatcher(manager, dialect=dialect)
            _checked(dispatcher.handle(request_))
            assert _checked(dispatcher.handle(_ask("get_health")))["status"] == "success"


def test_why_a_request_was_refused_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """In the documented dialect the answer is silent about it."""
    with VMManager(FakeBackend()) as manager, caplog.at_level(logging.INFO, "procvm"):
        guarded = Dispatcher(manager, policy=Policy(methods=["allocate_vm"], programs=["sleep"]))
        config = {"name": "x", "path": ".", "command": "true"}
        allocate = {"method": "allocate_vm", "args": {"config": config}, "timestamp": time.time()}
        answer = guarded.handle(allocate)
        assert answer["result"] == {"status": "failed", "message": "process failed to start"}
        guarded.handle({"method": "fly"})
    first, second = [one for one in caplog.records if "refused or failed" in one.message]
    assert first.message.startswith("allocate_vm refused or failed: policy: args.config.command: ")
    assert second.message.startswith("a request refused or failed: protocol: ")
    assert vars(first)["code"] == "policy"


class _Full(logging.Handler):
    """A handler of the host's that raises."""

    def handle(self, record: logging.LogRecord) -> bool:
        raise OSError("disk full")


def test_a_log_handler_that_raises_ends_nothing() -> None:
    logger, handler = logging.getLogger("procvm"), _Full()
    logger.addHandler(handler)
    try:
        with VMManager(FakeBackend()) as manager:
            broken = Dispatcher(manager)
            broken._manager = None  # type: ignore[assignment] # whatever may go wrong in it
            assert _checked(broken.handle(_allocate()))["status"] == "failed"
    finally:
        logger.removeHandler(handler)


def test_a_strangers_metaclass_is_not_asked(manager: VMManager) -> None:
    class Meta(type):
        def __eq__(cls, other: object) -> bool:
            raise ValueError("from a stranger")

        __hash__ = type.__hash__

    class Stranger(metaclass=Meta):
        pass

    answer = Dispatcher(manager).handle({"method": "get_vms", "timestamp": Stranger()})
    assert _checked(answer)["status"] == "failed"
