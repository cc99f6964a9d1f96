"""The JSON Schema of every message, made from the types."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any

import attrs

from .. import probes
from ..config import Limits, LogPolicy, RestartPolicy, StopPolicy, VMConfig
from ..facts import Exit
from ._codec import METHODS
from ._messages import VMInfo

__all__ = ["json_schema"]

_PRIMITIVES: dict[Any, str] = {
    str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null",
}  # fmt: skip
_PROBES = (
    probes.Tcp, probes.Http, probes.Unix, probes.File, probes.Log, probes.Notify,
    probes.Command, probes.AllOf, probes.AnyOf,
)  # fmt: skip


def _of_type(hint: Any) -> dict[str, Any]:
    """Return the schema of one type hint."""
    if hint in _PRIMITIVES:
        return {"type": _PRIMITIVES[hint]}
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_of_type(one) for one in args]}
    if origin is typing.Literal:
        return {"enum": list(args)}
    if origin in (tuple, frozenset):
        return {"type": "array", "items": _of_type(args[0])}
    if isinstance(hint, type) and issubclass(hint, Mapping):
        return {"type": "object", "additionalProperties": {"type": "string"}}
    return {"$ref": f"#/$defs/{hint.__name__}"}


def _of_class(kind: Any, *, required: bool, extra: bool = False) -> dict[str, Any]:
    """Return the schema of an attrs class; ``required``: with every key."""
    hints = typing.get_type_hints(kind)
    names = [a.name for a in attrs.fields(kind)]
    needed = [a.name for a in attrs.fields(kind) if required or a.default is attrs.NOTHING]
    return {
        "type": "object",
        "properties": {name: _of_type(hints[name]) for name in names},
        "required": needed,
        "additionalProperties": extra,
    }


def _config(*, extended: bool) -> dict[str, Any]:
    schema = _of_class(VMConfig, required=False)
    properties = schema["properties"]
    text = {"type": "string", "minLength": 1}
    words = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    properties["command"] = {"anyOf": [text, words]}
    properties["restart"] = {
        "anyOf": [
            {"enum": ["never", "on-failure", "always"]},
            {"$ref": "#/$defs/RestartPolicy"},
        ]
    }
    if not extended:
        schema["properties"] = {k: properties[k] for k in ("name", "path", "command", "env")}
    return schema


def _probe(kind: type[probes.Probe]) -> dict[str, Any]:
    schema = _of_class(kind, required=False)
    schema["properties"]["kind"] = {"const": kind.kind}
    if kind is probes.Http:
        codes = schema["properties"]["status"]
        schema["properties"]["status"] = {"anyOf": [codes, {"type": "integer"}]}
    schema["required"] = ["kind", *schema["required"]]
    return schema


def _request(kind: Any, config: str) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "method": {"const": kind.method},
        "timestamp": {"type": "number"},
    }
    names = [a.name for a in attrs.fields(kind) if a.name != "timestamp"]
    for name in names:
        value = {"$ref": f"#/$defs/{config}"} if name == "config" else {"type": "string"}
        properties["args"] = {"type": "object", "properties": {name: value}, "required": [name]}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _result(kind: Any) -> dict[str, Any]:
    good: dict[str, Any] = {"status": {"const": "success"}}
    if hasattr(kind, "success"):
        good["message"] = {"const": kind.success}
    elif kind.method == "get_health":
        good["health"] = {"enum": ["good", "bad"]}
    else:
        good["process"] = {"type": "array", "items": {"$ref": "#/$defs/VMInfo"}}
    bad = {"status": {"const": "failed"}, "message": {"const": kind.failure}}
    return {
        "type": "object",
        "properties": {
            "request": {},
            "result": {
                "oneOf": [
                    {"type": "object", "properties": one, "required": list(one)}
                    for one in (good, bad)
                ]
            },
        },
        "required": ["request", "result"],
    }


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of requests, with every message under ``$defs``.

    ``$defs`` holds ``<method>.request`` and ``<method>.response`` for each method, and
    ``allocate_vm.request.extended``.
    """
    defs: dict[str, Any] = {
        "VMConfig": _config(extended=False),
        "VMConfig.extended": _config(extended=True),
        "VMInfo": _of_class(VMInfo, required=True),
        "Exit": _of_class(Exit, required=True),
        "Probe": {"oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in _PROBES]},
    }
    for policy in (RestartPolicy, StopPolicy, Limits, LogPolicy):
        defs[policy.__name__] = _of_class(policy, required=False)
    stop = defs["StopPolicy"]["properties"]
    stop["signal"] = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    for probe in _PROBES:
        defs[probe.__name__] = _probe(probe)
    for method, kind in METHODS.items():
        defs[f"{method}.request"] = _request(kind, "VMConfig")
        defs[f"{method}.response"] = _result(kind)
    extended = _request(METHODS["allocate_vm"], "VMConfig.extended")
    defs["allocate_vm.request.extended"] = extended
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A request to a procvm Dispatcher",
        "oneOf": [{"$ref": f"#/$defs/{method}.request"} for method in METHODS],
        "$defs": defs,
    }
