"""Usage in the extended dialect: measured where it is asked for, and there alone."""

from __future__ import annotations

import time
from typing import Any

import pytest

from procvm import (
    FakeBackend,
    ProtocolError,
    SubprocessBackend,
    Usage,
    VMConfig,
    VMManager,
    VMNotFoundError,
)
from procvm.protocol import Client, Dispatcher, GetVMs, Policy, encode_request
from procvm.values import VM

ASKED = {"method": "get_vms", "args": {"usage": True}, "timestamp": 1.5}


@pytest.mark.parametrize("backend", [FakeBackend, SubprocessBackend])
def test_the_usage_of_each_vm_reaches_a_client(backend: Any) -> None:
    with VMManager(backend()) as manager:
        client = Client(Dispatcher(manager, dialect="extended").handle, dialect="extended")
        client.allocate(VMConfig("web", ["sleep", "1000"]))
        (plain,) = client.list()
        (told,) = client.list(usage=True)
        assert plain.usage is None
        assert isinstance(told.usage, Usage)
        assert (told.usage.processes, told.usage.threads) == (1, 1)
        assert told.usage.memory > 0


def test_the_documented_dialect_carries_none() -> None:
    with VMManager(FakeBackend()) as manager:
        manager.allocate(VMConfig("web", ["x"]))
        dispatcher = Dispatcher(manager)
        with pytest.raises(ProtocolError, match=r"^args\.usage: the documented dialect"):
            Client(dispatcher.handle).list(usage=True)
        (told,) = dispatcher.handle(ASKED)["result"]["process"]  # unknown in args: ignored
        assert "usage" not in told
        assert "args" not in encode_request(GetVMs(1.5))


@pytest.mark.parametrize("wrong", [1, "true", None, [True]])
def test_what_is_neither_true_nor_false_is_refused(wrong: object) -> None:
    with VMManager(FakeBackend()) as manager:
        request = {**ASKED, "args": {"usage": wrong}}
        result = Dispatcher(manager, dialect="extended").handle(request)["result"]
    assert result["error"]["code"] == "protocol"
    assert result["error"]["field"] == "args.usage"


def test_a_vm_taken_away_meanwhile_is_told_of_without() -> None:
    class Hasty(VMManager):
        def usage(self, vm: VM | str) -> Usage:
            if isinstance(vm, VM) and vm.name == "b":
                raise VMNotFoundError(vm.name)
            return super().usage(vm)

    with Hasty(FakeBackend()) as manager:
        for name in "abc":
            manager.allocate(VMConfig(name, ["x"]))
        told = Dispatcher(manager, dialect="extended").handle(ASKED)["result"]["process"]
    assert ["usage" in vm for vm in told] == [True, False, True]


def test_under_a_policy_it_is_as_visible_as_the_vms() -> None:
    with VMManager(FakeBackend()) as manager:
        manager.allocate(VMConfig("hosts", ["x"]))
        for sees, number in (("all", 1), ("own", 0)):
            policy = Policy(methods={"get_vms"}, sees=sees)  # type: ignore[arg-type]
            dispatcher = Dispatcher(manager, dialect="extended", policy=policy)
            told = dispatcher.handle({**ASKED, "timestamp": time.time()})["result"]["process"]
            assert len(told) == number
            assert all("usage" in vm for vm in told)
