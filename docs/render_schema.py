"""Make the JSON Schema of every message from the types; with --check, fail when it differs."""

from __future__ import annotations

import json
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

import procvm
from procvm import (
    Exit,
    Limits,
    LogPolicy,
    RestartPolicy,
    StopPolicy,
    Usage,
    VMConfig,
    probes,
    protocol,
)  # fmt: skip

FILE = Path(procvm.__file__).parent / "protocol" / "schema.json"
METHODS = {
    kind.method: kind
    for kind in (
        protocol.AllocateVM, protocol.RemoveVM, protocol.ResetVM, protocol.GetHealth,
        protocol.GetVMs,
    )
}  # fmt: skip

_PRIMITIVES: dict[Any, str] = {
    str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null",
}  # fmt: skip
_PROBES = (
    probes.Tcp, probes.Http, probes.Unix, probes.File, probes.Log, probes.Notify,
    probes.Command, probes.AllOf, probes.AnyOf,
)  # fmt: skip
_COMMAND = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
    ]
}


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
    properties["command"] = _COMMAND
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
    if kind is probes.Command:
        schema["properties"]["argv"] = _COMMAND
    schema["required"] = ["kind", *schema["required"]]
    return schema


def _request(kind: Any, config: str) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "method": {"const": kind.method},
        "timestamp": {"type": "number"},
    }
    names = [a.name for a in attrs.fields(kind) if a.name not in ("timestamp", "usage")]
    for name in names:
        value = {"$ref": f"#/$defs/{config}"} if name == "config" else {"type": "string"}
        properties["args"] = {"type": "object", "properties": {name: value}, "required": [name]}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    if kind is protocol.GetVMs and config.endswith(".extended"):
        usage = {"type": "object", "properties": {"usage": {"type": "boolean"}}}
        schema["properties"] = {**properties, "args": usage}
    return schema


def _info(*, extended: bool) -> dict[str, Any]:
    schema = _of_class(protocol.VMInfo, required=True)
    schema["required"].remove("usage")
    schema["properties"]["usage"] = {"$ref": "#/$defs/Usage"}
    if not extended:
        del schema["properties"]["usage"]
    return schema


def _object(properties: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """Return the schema of a mapping with these keys and, perhaps, the optional ones."""
    return {
        "type": "object",
        "properties": {**properties, **optional},
        "required": list(properties),
        "additionalProperties": False,
    }


def _response(*results: dict[str, Any]) -> dict[str, Any]:
    result = results[0] if len(results) == 1 else {"oneOf": list(results)}
    return _object({"request": {}, "result": result})


def _failed(message: dict[str, Any], *, extended: bool) -> dict[str, Any]:
    text = {"type": "string"}
    error = _object({"code": text, "message": text}, vm_id=text, field=text)
    more = {"error": error} if extended else {}
    return _object({"status": {"const": "failed"}, "message": message}, **more)


def _responses(kind: Any, *, extended: bool) -> dict[str, Any]:
    good: dict[str, Any] = {"status": {"const": "success"}}
    more: dict[str, Any] = {}
    end = ".extended" if extended else ""
    if hasattr(kind, "success"):
        good["message"] = {"const": kind.success}
        more = {"vm_id": {"type": "string"}} if extended and kind is protocol.AllocateVM else {}
    elif kind is protocol.GetHealth:
        good["health"] = {"enum": ["good", "bad"]}
    else:
        good["process"] = {"type": "array", "items": {"$ref": f"#/$defs/VMInfo{end}"}}
    return _response(_object(good, **more), _failed({"const": kind.failure}, extended=extended))


def _parts() -> dict[str, Any]:
    """Return the schemas of what messages are made of."""
    parts: dict[str, Any] = {
        "VMConfig": _config(extended=False),
        "VMConfig.extended": _config(extended=True),
        "VMInfo": _info(extended=False),
        "VMInfo.extended": _info(extended=True),
        "Exit": _of_class(Exit, required=True),
        "Usage": _of_class(Usage, required=True),
        "Probe": {"oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in _PROBES]},
    }
    for policy in (RestartPolicy, StopPolicy, Limits, LogPolicy):
        parts[policy.__name__] = _of_class(policy, required=False)
    signal = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    parts["StopPolicy"]["properties"]["signal"] = signal
    for probe in _PROBES:
        parts[probe.__name__] = _probe(probe)
    return parts


def schema() -> dict[str, Any]:
    """Return the schema."""
    defs = _parts()
    for extended in (False, True):
        end = ".extended" if extended else ""
        for method, kind in METHODS.items():
            defs[f"{method}.request{end}"] = _request(kind, f"VMConfig{end}")
            defs[f"{method}.response{end}"] = _responses(kind, extended=extended)
        unknown = _failed({"type": "string"}, extended=extended)
        defs[f"unknown.response{end}"] = _response(unknown)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A request to a procvm Dispatcher",
        "oneOf": [{"$ref": f"#/$defs/{method}.request"} for method in METHODS],
        "$defs": defs,
    }


def render() -> str:
    """Return the file."""
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if FILE.read_text() == render() else "schema.json differs: render it anew")
    FILE.write_text(render())
