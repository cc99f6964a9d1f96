"""Every error of the other side comes back as its own class, or as RemoteError."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from procvm import (
    VM,
    AnswerTimeoutError,
    ConfigError,
    DuplicateNameError,
    Exit,
    ExitedBeforeReadyError,
    FakeBackend,
    FakeProgram,
    ForkedManagerError,
    HealthReport,
    LogLine,
    ManagerClosedError,
    NotExecutableError,
    PolicyError,
    ProcVMError,
    ProgramNotFoundError,
    ProtocolError,
    ReadyTimeoutError,
    RemoteError,
    ResourceError,
    StartError,
    StartInterruptedError,
    StopError,
    Survivor,
    UnreachableStateError,
    VMConfig,
    VMManager,
    VMNotFoundError,
    WaitTimeoutError,
    WorkingDirectoryError,
    probes,
)
from procvm import errors as all_errors
from procvm.protocol import Client, Dialect, Dispatcher

ID = "0" * 32
START = ("why: so [it] is", "web", ID, ("sleep", "a 'b' in c"), "/a b")
WHOLE: list[ProcVMError] = [  # their facts come back whole
    ProcVMError("what"),
    ConfigError("log.keep", -1, "must be more: 0"),
    ConfigError("env", {"a: b": [1, None]}, "must be: otherwise"),
    *(
        kind(*START)
        for kind in (
            StartError, ProgramNotFoundError, NotExecutableError, ResourceError,
            StartInterruptedError,
        )
    ),
    WorkingDirectoryError(*START, step="directory"),
    ReadyTimeoutError(*START, step="ready"),
    ExitedBeforeReadyError(*START, step="ready"),
    StopError(ID, "web", (Survivor(4711, "sleep"), Survivor(4712))),
    StopError(ID, "it's \"web\""),
    VMNotFoundError("web"),
    VMNotFoundError("web", is_leaving=True),
    DuplicateNameError("web"),
    WaitTimeoutError(ID, "web", 1.5, "running"),
    UnreachableStateError(ID, "web", "running", "no event is left"),
    ManagerClosedError("allocate"),
    ManagerClosedError(""),
    ForkedManagerError(4711),
    ProtocolError("args.config.env", "is: wrong"),
    PolicyError("args.vm_id", "is: wrong"),
    RemoteError("said: so"),
    AnswerTimeoutError("get_vms", 2.5),
]  # fmt: skip
CUT: list[ProcVMError] = [  # something of them cannot be told by a sentence
    ConfigError("command", object(), "must be text"),
    ConfigError("name", "x" * 500, "must be shorter"),
    StartError("why", "web", ID, ("x" * 500,), "/" + "y" * 500),
    ExitedBeforeReadyError(
        *START, exit=Exit(3, None, 1.0), logs=(LogLine("last words", "stderr", 1.0, 1),)
    ),
    StopError(ID, "x" * 300, (Survivor(1, "a, b"),)),
    VMNotFoundError("x" * 300),
    ForkedManagerError("none"),  # type: ignore[arg-type] # another version's words
    WaitTimeoutError(ID, "web", math.inf, "running"),
]


class _Failing:
    """A manager that raises one error from every verb."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def allocate(self, config: VMConfig, /) -> VM:
        raise self.error

    def remove(self, vm: str, /) -> VM:
        raise self.error

    def reset(self, vm: str, /) -> VM:
        raise self.error

    def health(self) -> HealthReport:
        raise self.error

    def list(self) -> list[VM]:
        raise self.error


def _client(manager: Any, dialect: Dialect = "extended") -> Client:
    handle = Dispatcher(manager, dialect=dialect).handle
    return Client(
        lambda request: json.loads(json.dumps(handle(json.loads(json.dumps(request))))),
        dialect=dialect,
    )


def _met(error: Exception, dialect: Dialect = "extended") -> list[ProcVMError]:
    """Return what each verb raises."""
    client = _client(_Failing(error), dialect)
    met: list[ProcVMError] = []
    for verb in (
        lambda: client.allocate(VMConfig("web", "sleep 5")),
        lambda: client.remove("web"),
        lambda: client.reset("web"),
        client.health,
        client.list,
    ):
        with pytest.raises(ProcVMError) as caught:
            verb()
        met.append(caught.value)
    return met


def _classes(kind: type[ProcVMError] = ProcVMError) -> Iterator[type[ProcVMError]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from _classes(inner)


def test_every_class_of_errors_is_tried_here() -> None:
    ours = {kind for kind in _classes() if kind.__module__ == all_errors.__name__}
    assert {type(error) for error in WHOLE} == ours
    assert {kind.__name__ for kind in ours} == set(all_errors.__all__)
    assert len({kind.code for kind in ours}) == len(ours)


@pytest.mark.parametrize("error", WHOLE, ids=repr)
def test_an_error_comes_back_equal_in_the_extended_dialect(error: ProcVMError) -> None:
    for met in _met(error):
        assert met == error
        assert str(met) == str(error)
        assert not hasattr(met, "__notes__")


@pytest.mark.parametrize("error", CUT, ids=lambda e: type(e).__name__)
def test_what_a_sentence_cannot_tell_is_in_a_note(error: ProcVMError) -> None:
    for met in _met(error):
        assert type(met) is type(error) or isinstance(met, RemoteError)
        said = [str(met), *getattr(met, "__notes__", ())]
        assert any(str(error) in one for one in said)


@pytest.mark.parametrize("error", [*WHOLE, *CUT], ids=lambda e: type(e).__name__)
def test_an_error_is_a_remote_error_in_the_documented_dialect(error: ProcVMError) -> None:
    assert _met(error, "documented") == [
        RemoteError("process failed to start"),
        RemoteError("process failed to be killed"),
        RemoteError("process failed to be reset"),
        RemoteError("unable to get health"),
        RemoteError("unable to get health"),
    ]


def test_an_error_that_is_none_of_ours_is_a_remote_error() -> None:
    for met in _met(OSError("secret")):
        assert isinstance(met, RemoteError)
        assert met.remote_code == "internal"
        assert "secret" not in str(met)


DETAILS = ["", "x", "VM ", ": ", "VM 'a' is b", "x" * 10**6, ": " * 10**5]


@pytest.mark.parametrize("code", sorted({kind.code for kind in _classes()} | {"x", "internal"}))
def test_any_sentence_with_any_code_is_some_error(code: str) -> None:
    error = {"code": code, "field": "name"}
    result = {"status": "failed", "message": "process failed to start", "error": error}
    client = Client(lambda request: {"request": request, "result": result}, dialect="extended")
    for detail in DETAILS:
        error["message"] = detail
        with pytest.raises(ProcVMError) as caught:
            client.allocate(VMConfig("web", "x"))
        assert detail in "".join([str(caught.value), *getattr(caught.value, "__notes__", ())])


def test_the_errors_of_real_starts_come_back_with_their_facts() -> None:
    backend = FakeBackend()
    backend.program(
        "web",
        FakeProgram(
            ready_after=5.0, exit_after=1.0, exit_code=3, output=((0.5, "stderr", "no\n"),)
        ),
    )
    with VMManager(backend) as manager:
        ready = probes.tcp(80)
        config = VMConfig("web", ["serve", "--now"], ready=ready)
        with pytest.raises(ExitedBeforeReadyError) as here:
            manager.allocate(config)
        with pytest.raises(ExitedBeforeReadyError) as there:
            _client(manager).allocate(config)
    assert there.value.name == here.value.name == "web"
    assert here.value.logs
    assert not there.value.logs
    assert "no" in there.value.__notes__[0]
    assert there.value.argv == here.value.argv
    assert there.value.why == here.value.why


def test_an_extended_client_is_told_that_the_other_end_is_not() -> None:
    """Of an answer in the documented dialect it could not know why there is no more to it."""
    with VMManager(FakeBackend()) as manager:
        client = Client(Dispatcher(manager).handle, dialect="extended")
        assert client.allocate({"name": "web", "command": "web"}) == "web"
        with pytest.raises(RemoteError, match="failed to start") as caught:
            client.allocate({"name": "web", "command": "web"})
        assert "documented dialect" in caught.value.__notes__[-1]
        honest = Client(Dispatcher(manager, dialect="extended").handle, dialect="extended")
        with pytest.raises(DuplicateNameError) as other:
            honest.allocate({"name": "web", "command": "web"})
        assert not hasattr(other.value, "__notes__")


def test_no_answer_in_time_is_an_error_and_the_late_answer_is_dropped() -> None:
    release, returned = threading.Event(), threading.Event()

    def send(request: Any) -> Any:
        try:
            release.wait()
            return {"request": request, "result": {"status": "success", "health": "good"}}
        finally:
            returned.set()

    client = Client(send, timeout=0.01)
    with pytest.raises(AnswerTimeoutError) as caught:
        client.health()
    assert caught.value == AnswerTimeoutError("get_health", 0.01)
    assert isinstance(caught.value, TimeoutError)
    release.set()
    returned.wait()
    assert Client(send, timeout=1e300).health()


def test_with_a_timeout_what_the_transport_raises_goes_through() -> None:
    def send(request: Any) -> Any:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        Client(send, timeout=60).health()


@pytest.mark.parametrize("timeout", [0, -1, True, math.nan, math.inf, "1"])
def test_a_wrong_timeout_is_a_config_error(timeout: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Client(print, timeout=timeout)
    assert caught.value.field == "timeout"


@pytest.mark.parametrize("change", [{"timestamp": 1.0}, {"method": "get_vms"}])
def test_the_answer_to_an_earlier_request_is_refused(change: dict[str, Any]) -> None:
    result = {"status": "success", "health": "good"}
    with pytest.raises(ProtocolError) as caught:
        Client(lambda request: {"request": {**request, **change}, "result": result}).health()
    assert caught.value.path == f"request.{next(iter(change))}"
    assert Client(lambda _: {"request": "<not copied>", "result": result}).health()
