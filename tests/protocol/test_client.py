from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from procvm import (
    ConfigError,
    DuplicateNameError,
    FakeBackend,
    ManagerClosedError,
    ProtocolError,
    RemoteError,
    VMConfig,
    VMManager,
    VMNotFoundError,
)  # fmt: skip
from procvm.protocol import Client, Dialect, Dispatcher


@pytest.fixture
def manager() -> Iterator[VMManager]:
    with VMManager(FakeBackend()) as made:
        yield made


def _client(manager: VMManager, dialect: Dialect = "documented") -> Client:
    dispatcher = Dispatcher(manager, dialect=dialect)
    return Client(
        lambda request: json.loads(json.dumps(dispatcher.handle(json.loads(json.dumps(request))))),
        dialect=dialect,
    )


def test_the_five_verbs_in_the_documented_dialect(manager: VMManager) -> None:
    client = _client(manager)
    assert client.allocate(VMConfig("web", ["sleep", "a b"])) == "web"
    assert client.health()
    client.reset("web")
    (vm,) = client.list()
    assert (vm.name, vm.command, vm.state, vm.generation) == ("web", "sleep 'a b'", "running", 2)
    client.remove(vm.vm_id)
    assert client.list() == []


def test_an_allocation_returns_the_vm_id_in_the_extended_dialect(manager: VMManager) -> None:
    vm_id = _client(manager, "extended").allocate(VMConfig("web", "x", restart="always"))
    assert vm_id == manager.get("web").vm_id


def test_a_failure_is_a_remote_error_in_the_documented_dialect(manager: VMManager) -> None:
    with pytest.raises(RemoteError) as caught:
        _client(manager).remove("web")
    assert caught.value == RemoteError("process failed to be killed")


def test_a_failure_has_its_own_class_in_the_extended_dialect(manager: VMManager) -> None:
    client = _client(manager, "extended")
    client.allocate(VMConfig("web", "x"))
    with pytest.raises(DuplicateNameError) as duplicate:
        client.allocate(VMConfig("web", "x"))
    assert duplicate.value == DuplicateNameError("web")
    with pytest.raises(VMNotFoundError) as missing:
        client.reset("other")
    assert missing.value == VMNotFoundError("other")
    manager.close()
    with pytest.raises(ManagerClosedError):
        client.health()


def test_what_the_dialect_cannot_carry_is_not_sent() -> None:
    sent: list[Any] = []
    client = Client(sent.append)
    with pytest.raises(ProtocolError):
        client.allocate(VMConfig("web", "x", restart="always"))
    with pytest.raises(ProtocolError):
        client.remove(1)  # type: ignore[arg-type] # that is the test
    assert sent == []


@pytest.mark.parametrize("answer", [None, {}, {"result": {"status": "success", "process": []}}])
def test_an_answer_to_something_else_is_a_protocol_error(answer: Any) -> None:
    with pytest.raises(ProtocolError):
        Client(lambda request: answer).health()


def test_what_the_transport_raises_goes_through() -> None:
    def send(request: Any) -> Any:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        Client(send).health()


def test_a_dialect_that_there_is_not_is_a_config_error() -> None:
    with pytest.raises(ConfigError):
        Client(print, dialect="klingon")  # type: ignore[arg-type] # that is the test
