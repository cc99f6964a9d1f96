"""Between messages and plain data; every type is exact, nothing is coerced."""

from __future__ import annotations

import math
import re
import shlex
from typing import Any, Literal

import attrs

from ..config import VMConfig, config_from, config_to
from ..errors import ConfigError, ProtocolError
from ..facts import Exit, Usage, plain
from ._messages import (
    AllocateVM,
    Failed,
    GetHealth,
    GetVMs,
    HealthResult,
    RemoveVM,
    Request,
    ResetVM,
    Response,
    Result,
    Succeeded,
    VMInfo,
    VMsResult,
)  # fmt: skip
from ._plain import PlainCopy, plain_copy, plain_text

__all__ = [
    "Dialect", "decode_request", "decode_response", "encode_request", "encode_response",
]  # fmt: skip

Dialect = Literal["documented", "extended"]

METHODS: dict[str, type[Any]] = {
    kind.method: kind for kind in (AllocateVM, RemoveVM, ResetVM, GetHealth, GetVMs)
}
_CONFIG_KEYS = frozenset({"name", "path", "command", "env"})
_QUOTING = re.compile(r"[^!#-&(-\[\]-~ ]|  |^ | $|^$")  # not plain words with one space between
_SHORT = 4096  # what is longer is the configuration's to judge
_READ = frozenset({"method", "args", "timestamp"})


def checked_dialect(dialect: str) -> bool:
    """Return whether a dialect is the extended one; ConfigError when there is none such."""
    if dialect not in ("documented", "extended"):
        raise ConfigError("dialect", dialect, "must be documented or extended")
    return dialect == "extended"


def decode_request(request: Any, *, dialect: Dialect = "documented") -> Request:
    """Return the message that a request is.

    Raises:
        ProtocolError: It is none.
        ConfigError: Its configuration can never work.
    """
    return decode_copy(PlainCopy(request), extended=checked_dialect(dialect))


def method_of(request: Any) -> type[Any] | None:
    """Return the kind of message that a plain request asks for; a fixed table, no getattr."""
    method = request.get("method") if type(request) is dict else None
    return METHODS.get(method) if type(method) is str else None


def decode_copy(copy: PlainCopy, *, extended: bool) -> Request:
    """Decode a request that was copied already."""
    request = copy.value
    if type(request) is not dict:
        raise ProtocolError("request", "must be a mapping with method, args and timestamp")
    kind = method_of(request)
    if kind is None:
        raise ProtocolError("method", f"unknown method; there are {', '.join(METHODS)}")
    for top, at in copy.replaced.items():
        if not top or top in _READ:
            raise ProtocolError(".".join(at[:8])[:200] or "request", "is not plain data")
    timestamp = _timestamp(request)
    if kind is GetHealth:
        return GetHealth(timestamp)
    if kind is GetVMs:
        return GetVMs(timestamp, extended and _wants_usage(request.get("args")))
    args = request.get("args")
    if type(args) is not dict:
        raise ProtocolError("args", "must be a mapping")
    if kind is AllocateVM:
        return AllocateVM(_config(args, extended=extended), timestamp)
    vm_id = args.get("vm_id")
    if type(vm_id) is not str:
        raise ProtocolError("args.vm_id", "must be text: a vm_id or a name")
    made: Request = kind(vm_id, timestamp)
    return made


def _wants_usage(args: Any) -> bool:
    wants = args.get("usage", False) if type(args) is dict else False
    if type(wants) is not bool:
        raise ProtocolError("args.usage", "must be true or false")
    return wants


def _timestamp(request: dict[str, Any]) -> float:
    timestamp = request.get("timestamp")
    if type(timestamp) is float and math.isfinite(timestamp):
        return timestamp
    if type(timestamp) is int:
        try:
            float(timestamp)
        except OverflowError:
            raise ProtocolError("timestamp", "must be finite") from None
        return timestamp
    raise ProtocolError("timestamp", "must be a finite number: the Unix time")


def _config(args: dict[str, Any], *, extended: bool) -> VMConfig:
    config = args.get("config")
    if type(config) is not dict:
        raise ProtocolError("args.config", "must be a mapping")
    if not extended and not config.keys() <= _CONFIG_KEYS:
        unknown = sorted(config.keys() - _CONFIG_KEYS)[:10]
        raise ConfigError("config", unknown, "unknown keys; there are name, path, command, env")
    command = config.get("command")
    if type(command) is str and len(command) < _SHORT and not _QUOTING.search(command):
        config = {**config, "command": command.split(" ")}  # what shlex gives, at a tenth
    return config_from(config)


def encode_request(message: Request, *, dialect: Dialect = "documented") -> dict[str, Any]:
    """Return a message as a request: plain data with the documented keys.

    Raises:
        ProtocolError: It is no message, or the dialect cannot carry it; nothing is cut down.
    """
    extended = checked_dialect(dialect)
    if type(message) not in METHODS.values():
        raise ProtocolError("message", f"{type(message).__name__} is no message")
    request: dict[str, Any] = {"method": message.method}
    if isinstance(message, AllocateVM):
        request["args"] = {"config": _config_data(message.config, extended=extended)}
    elif isinstance(message, (RemoveVM, ResetVM)):
        if type(message.vm_id) is not str:
            raise ProtocolError("args.vm_id", "must be text: a vm_id or a name")
        request["args"] = {"vm_id": message.vm_id}
    elif isinstance(message, GetVMs) and message.usage:
        if not extended:
            raise ProtocolError("args.usage", "the documented dialect knows no usage")
        request["args"] = {"usage": message.usage}
    request["timestamp"] = message.timestamp
    copy = PlainCopy(request)
    if copy.replaced:
        raise ProtocolError(
            ".".join(next(iter(copy.replaced.values())))[:200], "is not plain data"
        )
    _timestamp(request)
    encoded: dict[str, Any] = copy.value
    return encoded


def _config_data(config: VMConfig, *, extended: bool) -> dict[str, Any]:
    if not isinstance(config, VMConfig):
        raise ProtocolError("args.config", "must be a VMConfig")
    try:
        data = config_to(config)
    except ConfigError as e:
        raise ProtocolError(f"args.config.{e.field}", e.why) from e
    rest = {key: data[key] for key in data if key not in _CONFIG_KEYS}
    if rest and not extended:
        raise ProtocolError(
            f"args.config.{next(iter(rest))}",
            "the documented dialect knows name, path, command and env alone",
        )
    return {
        "name": config.name,
        "path": config.path,
        "command": shlex.join(config.command),
        "env": dict(config.env),
        **rest,
    }


def encode_response(response: Response, *, dialect: Dialect = "documented") -> dict[str, Any]:
    """Return an answer as plain data; the documented dialect has the documented keys alone."""
    result = encode_result(response.result, extended=checked_dialect(dialect))
    return {"request": plain_copy(response.request), "result": result}


def encode_result(result: Result, *, extended: bool) -> dict[str, Any]:
    """Return a result as plain data."""
    if isinstance(result, HealthResult):
        return {"status": "success", "health": result.health}
    if isinstance(result, VMsResult):
        return {
            "status": "success",
            "process": [_element(vm, extended=extended) for vm in result.process],
        }
    if isinstance(result, Succeeded):
        data: dict[str, Any] = {"status": "success", "message": plain_text(result.message)}
        if extended and result.vm_id is not None:
            data["vm_id"] = result.vm_id
        return data
    data = {"status": "failed", "message": plain_text(result.message)}
    if extended and result.code:
        error = {"code": result.code, "message": plain_text(result.detail)}
        for key, value in (("vm_id", result.vm_id), ("field", result.field)):
            if value is not None:
                error[key] = plain_text(value)
        data["error"] = error
    return data


def _element(vm: VMInfo, *, extended: bool) -> dict[str, Any]:
    data = {
        "vm_id": vm.vm_id,
        "name": plain_text(vm.name),
        "path": plain_text(vm.path),
        "command": plain_text(vm.command),
        "state": vm.state,
        "pid": vm.pid,
        "generation": vm.generation,
        "restarts": vm.restarts,
        "healthy": vm.healthy,
        "started_at": vm.started_at,
        "exit": None if vm.exit is None else plain(vm.exit),
    }
    if extended and vm.usage is not None:
        data["usage"] = plain(vm.usage)
    return data


def decode_response(response: Any) -> Response:
    """Return the answer that a response is, of either dialect.

    Raises:
        ProtocolError: It is none.
    """
    copy = PlainCopy(response)
    data = copy.value
    if type(data) is not dict or type(data.get("result")) is not dict:
        raise ProtocolError("response", "must be a mapping with request and result")
    if copy.replaced.keys() & {"", "result"}:
        raise ProtocolError("result", "is not plain data")
    return Response(data.get("request"), _result(data["result"]))


def _result(data: dict[str, Any]) -> Result:
    status = data.get("status")
    if status == "failed":
        return _failed(data)
    if status != "success":
        raise ProtocolError("result.status", "must be success or failed")
    if "process" in data:
        process = data["process"]
        if type(process) is not list:
            raise ProtocolError("result.process", "must be a list")
        return VMsResult(tuple(map(_info, process)))
    if "health" in data:
        if data["health"] not in ("good", "bad"):
            raise ProtocolError("result.health", "must be good or bad")
        return HealthResult(data["health"])
    vm_id = data.get("vm_id")
    return Succeeded(
        _typed(data, "message", str), None if vm_id is None else _typed(data, "vm_id", str)
    )


def _failed(data: dict[str, Any]) -> Failed:
    message, error = _typed(data, "message", str), data.get("error")
    if error is None:
        return Failed(message)
    if type(error) is not dict:
        raise ProtocolError("result.error", "must be a mapping")
    optional = {
        key: _typed(error, key, str) for key in ("vm_id", "field") if error.get(key) is not None
    }
    return Failed(message, _typed(error, "code", str), _typed(error, "message", str), **optional)


def _typed(data: dict[str, Any], key: str, *kinds: type) -> Any:
    value = data.get(key)
    if type(value) not in kinds:
        words = " or ".join(kind.__name__ for kind in kinds)
        raise ProtocolError(f"result.{key}", f"must be of type {words}")
    return value


_NONE = type(None)
_INFO: dict[str, tuple[type, ...]] = {
    "vm_id": (str,), "name": (str,), "path": (str,), "command": (str,), "state": (str,),
    "pid": (int, _NONE), "generation": (int,), "restarts": (int,), "healthy": (bool,),
    "started_at": (float, int, _NONE), "exit": (dict, _NONE),
}  # fmt: skip
_EXIT: dict[str, tuple[type, ...]] = {
    "code": (int, _NONE), "signal": (int, _NONE), "at": (float, int), "expected": (bool,),
}  # fmt: skip

_USAGE: dict[str, tuple[type, ...]] = {
    "cpu_time": (float, int), "cpu_percent": (float, int, _NONE), "memory": (int,),
    "threads": (int,), "processes": (int,), "open_files": (int,),
}  # fmt: skip


def _info(data: Any) -> VMInfo:
    if type(data) is not dict:
        raise ProtocolError("result.process", "must hold mappings")
    fields = {key: _typed(data, key, *kinds) for key, kinds in _INFO.items()}
    if fields["exit"] is not None:
        fields["exit"] = Exit(**{k: _typed(fields["exit"], k, *t) for k, t in _EXIT.items()})
    usage = data.get("usage")
    if usage is not None:
        if type(usage) is not dict:
            raise ProtocolError("result.usage", "must be a mapping")
        fields["usage"] = Usage(**{k: _typed(usage, k, *t) for k, t in _USAGE.items()})
    return VMInfo(**fields)


assert {*_INFO, "usage"} == {a.name for a in attrs.fields(VMInfo)}  # noqa: S101 - one list of keys
