"""Configurations as plain data and back, without coercion: True is no int, None is no text."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import attrs

from .. import probes
from .._keywords import what_was_meant
from .._near import did_you_mean
from ..errors import ConfigError, shortened
from ._policies import Limits, LogPolicy, RestartPolicy, StopPolicy
from ._vm import VMConfig

__all__ = ["config_from", "config_to", "policy_from", "probe_from"]

_DEEPEST = 20
_SHOWN = 10
_KEYS = tuple(a.name for a in attrs.fields(VMConfig))
_PROBES: dict[str, type[probes.Probe]] = {
    kind.kind: kind
    for kind in (
        probes.Tcp, probes.Http, probes.Unix, probes.File, probes.Log, probes.Notify,
        probes.Command, probes.AllOf, probes.AnyOf,
    )
}  # fmt: skip
_PROBE_KEYS = (
    "kind", *dict.fromkeys(a.name for kind in _PROBES.values() for a in attrs.fields(kind)),
)  # fmt: skip
_POLICIES: dict[str, type] = {
    "restart": RestartPolicy,
    "stop": StopPolicy,
    "limits": Limits,
    "log": LogPolicy,
}

_DEFAULTS = {  # frozen, so one of each is enough; making a StopPolicy asks for every signal
    "restart": RestartPolicy("never"),
    "stop": StopPolicy(),
    "limits": Limits(),
    "log": LogPolicy(),
}


def config_from(mapping: Mapping[str, Any]) -> VMConfig:
    """Make a configuration from plain data.

    A probe is ``{'kind': 'tcp', 'port': 80}``; a policy is a mapping of its fields. Values
    that are probes and policies already are taken as they are.

    Raises:
        ConfigError: It is no mapping, has unknown keys, or a value is wrong.
    """
    fields = _read("config", mapping)
    _known("config", fields, VMConfig)
    for key in ("name", "command"):
        if key not in fields:
            raise ConfigError(key, None, "is missing; every program has a name and a command")
    for key in ("ready", "alive"):
        if fields.get(key) is not None:
            fields[key] = probe_from(key, fields[key])
    for key, kind in _POLICIES.items():
        value = fields.get(key, kind)
        if value is kind or isinstance(value, kind):
            continue
        if key != "restart" or isinstance(value, Mapping):  # else a word, or nothing at all
            fields[key] = policy_from(key, value, kind)
    try:
        return VMConfig(**{**_DEFAULTS, **fields})
    except ConfigError:
        raise
    except Exception as e:
        raise ConfigError("config", type(mapping).__name__, f"cannot be read: {e!r}"[:200]) from e


def _read(field: str, value: Any) -> dict[str, Any]:
    """Copy a mapping once; whatever its methods do is a ConfigError."""
    copy: dict[str, Any] | None = None
    try:
        if isinstance(value, (dict, Mapping)):  # in this order: an ABC is slow
            copy = dict(value)
    except Exception as e:
        words = f"cannot be read: {type(e).__name__}"
        raise ConfigError(field, type(value).__name__, words) from e
    if copy is None:
        raise ConfigError(field, value, "must be a mapping of field names to values")
    for key in copy:
        if type(key) is not str:
            raise ConfigError(field, key, "every key must be text")
    return copy


def _known(field: str, given: dict[str, Any], kind: type) -> None:
    known = tuple(a.name for a in attrs.fields(kind))
    unknown = _unknown(given, known)
    if unknown:
        words = [
            _listed(unknown),
            f"there are {', '.join(known)}",
            what_was_meant(kind, unknown, known),
        ]
        raise ConfigError(field, unknown, "; ".join(filter(None, words)))


def _unknown(given: dict[str, Any], known: tuple[str, ...]) -> list[str]:
    return sorted(key for key in given if key not in known)[:_SHOWN]


def _listed(unknown: list[str]) -> str:
    names = ", ".join(shortened(key, 60) for key in unknown)
    return f"unknown keys {names}" if names else ""


def _kind_of(field: str, given: dict[str, Any]) -> str:
    """Return which probe it is to be; where the key is missing, what may be it mistyped."""
    if "kind" not in given:
        unknown = _unknown(given, _PROBE_KEYS)
        words = [f"is missing; it is one of {', '.join(_PROBES)}", _listed(unknown)]
        words.append(did_you_mean(unknown, _PROBE_KEYS))
        raise ConfigError(f"{field}.kind", None, "; ".join(filter(None, words)))
    kind = given["kind"]
    if kind == "call":
        raise ConfigError(f"{field}.kind", kind, "a function is no data")
    if type(kind) is not str or kind not in _PROBES:
        raise ConfigError(f"{field}.kind", kind, f"must be one of {', '.join(_PROBES)}")
    return kind


def probe_from(field: str, value: Any) -> probes.Probe:
    """Make a probe from plain data; one that is made already is taken as it is."""
    return _probe(field, value, 0)


def _probe(field: str, value: Any, depth: int) -> probes.Probe:
    if isinstance(value, probes.Probe):
        return value
    if depth > _DEEPEST:
        raise ConfigError(field, "...", f"probes are nested more than {_DEEPEST} deep")
    fields = _read(field, value)
    kind = _kind_of(field, fields)
    del fields["kind"]
    if "probes" in fields:
        inner = fields["probes"]
        if not isinstance(inner, (list, tuple)):
            raise ConfigError(f"{field}.probes", inner, "must be a list of probes")
        fields["probes"] = [
            _probe(f"{field}.probes[{number}]", one, depth + 1) for number, one in enumerate(inner)
        ]
    made: probes.Probe = policy_from(field, fields, _PROBES[kind])
    return made


def policy_from(field: str, value: Any, kind: type) -> Any:
    """Let cattrs make one attrs class; its errors become ours, with the path to the field."""
    fields = _read(field, value)
    _known(field, fields, kind)
    try:
        return _converter().structure(fields, kind)
    except ConfigError as e:
        raise ConfigError(f"{field}.{e.field}", e.value, e.why) from None
    except KeyError as e:
        raise ConfigError(f"{field}.{e.args[0]}", None, "is missing") from e
    except Exception as e:
        raise ConfigError(field, value, f"is wrong: {type(e).__name__}") from e


@functools.cache
def _converter() -> Any:
    """Build a converter that hands every leaf to the class's own exact checks."""
    import cattrs  # noqa: PLC0415 - 26 ms that the four documented keys do not need
    from cattrs.gen import make_dict_structure_fn, override  # noqa: PLC0415 - the same

    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)
    for kind in (*_POLICIES.values(), *_PROBES.values()):
        leaves = {a.name: override(struct_hook=_exact(a.name)) for a in attrs.fields(kind)}
        converter.register_structure_hook(
            kind,
            make_dict_structure_fn(
                kind,
                converter,
                _cattrs_forbid_extra_keys=True,
                _cattrs_detailed_validation=False,
                **leaves,  # type: ignore[arg-type] # mypy takes them for the named options
            ),
        )
    return converter


def _exact(name: str) -> Any:
    """Return a hook that passes plain values on; the class's validators are exact themselves."""
    lists = name in ("cpu_affinity", "status", "argv", "probes")

    def hook(value: Any, __: Any) -> Any:
        if value is None or type(value) in (bool, int, float, str):
            return value
        if lists and isinstance(value, (list, tuple, frozenset)):
            return _words(name, value)
        raise ConfigError(name, type(value).__name__, "is of a wrong type")

    return hook


def _words(name: str, value: Any) -> tuple[Any, ...]:
    items = tuple(value)
    for item in items:
        if type(item) not in (int, str) and not isinstance(item, probes.Probe):
            raise ConfigError(name, type(item).__name__, "holds something of a wrong type")
    return items


def config_to(config: VMConfig) -> dict[str, Any]:
    """Return a configuration as plain data that JSON can carry; defaults are left out.

    Raises:
        ConfigError: It has a ``call`` probe: a function is no data.
    """
    if not isinstance(config, VMConfig):
        raise ConfigError("config", config, "must be a VMConfig")
    data: dict[str, Any] = {"name": config.name, "command": list(config.command)}
    bare = config_from(data)
    for key in _KEYS[2:]:
        value = getattr(config, key)
        if value != getattr(bare, key):
            data[key] = _data(key, value)
    return data


def _data(field: str, value: Any) -> Any:
    if isinstance(value, probes.Call):
        raise ConfigError(field, "call", "a function is no data")
    if isinstance(value, probes.Probe):
        return {"kind": value.kind, **_changed(field, value)}
    if isinstance(value, RestartPolicy):
        return value.when if value == RestartPolicy(when=value.when) else _changed(field, value)
    if attrs.has(type(value)):
        return _changed(field, value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_data(field, item) for item in value]
    return value


def _changed(field: str, value: Any) -> dict[str, Any]:
    return {
        a.name: _data(f"{field}.{a.name}", now)
        for a in attrs.fields(type(value))
        if (now := getattr(value, a.name)) != a.default
    }
