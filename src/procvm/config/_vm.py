"""VMConfig: what a program is, and how it is to be kept."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal

import attrs

from .._command import encodable, words_of
from .._keywords import knows_keywords
from .._probe import Probe
from ..errors import ConfigError
from ._policies import Limits, LogPolicy, RestartPolicy, StopPolicy

__all__ = ["Environment", "VMConfig"]

_LONGEST_NAME = 255
_NO_USER = 2**32 - 1  # chown(2) and setreuid(2) take it for "leave it"
_ID = re.compile(r"[0-9a-f]{32}")


class Environment(Mapping[str, str]):
    """An immutable mapping that equals a dict; it never shows its values."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, str] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, key: str) -> str:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and self._items == dict(other)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{key!r}: ..." for key in self._items) + "}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Environment, (dict(self._items),))


def _name(given: str) -> str:
    value: Any = given
    if not isinstance(value, str):
        raise ConfigError("name", value, "must be text")
    if not value or len(value) > _LONGEST_NAME:
        raise ConfigError("name", value, f"must have 1 to {_LONGEST_NAME} characters")
    if not value.isprintable():
        raise ConfigError("name", value, "must be printable")
    if not unicodedata.is_normalized("NFC", value):
        raise ConfigError("name", value, "must be in Unicode's normal form NFC")
    if _ID.fullmatch(value):
        raise ConfigError("name", value, "has the form of a vm_id; choose another")
    return value


def _command(given: str | Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    return words_of("command", given)


def _path(given: str | os.PathLike[str]) -> str:
    value: Any = given
    try:
        text = os.fspath(value)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise ConfigError("path", value, "must be text or a PathLike of text")
    if not text:
        raise ConfigError("path", value, "is empty; '.' is the host's own directory")
    encodable("path", text)
    return text


def _env(given: Mapping[str, str]) -> Environment:
    value: Any = given
    if isinstance(value, Environment):
        return value
    if not isinstance(value, (dict, Mapping)):
        why = "must be a mapping of text to text, {'PORT': '8000'} say"
        raise ConfigError("env", f"<{type(value).__name__}>", why)
    items = dict(value)
    for key, text in items.items():
        if not isinstance(key, str) or not key or "=" in key:
            raise ConfigError("env", key, "a name must be text, not empty and without '='")
        if not isinstance(text, str):
            way = "str() makes it" if text is not None else "what is left out is not set"
            why = f"a value must be text and is of type {type(text).__name__}; {way}"
            raise ConfigError(f"env[{key!r}]", "...", why)
        encodable("env", key)
        encodable(f"env[{key[:80]!r}]", text)
    return Environment(items)


def _inherit(given: bool | Sequence[str]) -> bool | tuple[str, ...]:  # noqa: FBT001 - a converter
    value: Any = given
    if isinstance(value, bool):
        return value
    if isinstance(value, str) or not isinstance(value, (tuple, list, Sequence)):
        raise ConfigError("inherit_env", value, "must be True, False or a list of names")
    if not all(isinstance(n, str) and n and "=" not in n for n in value):
        raise ConfigError("inherit_env", value, "every name must be text, without '='")
    for name in value:
        encodable("inherit_env", name)
    return tuple(value)


def _probe(field: str) -> Any:
    def check(_: Any, __: Any, value: Any) -> None:
        if value is not None and not isinstance(value, Probe):
            why = "must be a probe, probes.tcp(8000) say"
            if callable(value):
                is_maker = getattr(value, "__module__", "") == "procvm.probes"
                why += "; call it" if is_maker else "; probes.call makes one of a function"
            elif isinstance(value, (list, tuple)):
                why += "; probes.all_of(*several) makes one of several"
            raise ConfigError(field, value, why)
        if field == "alive" and value is not None and not value.may_be_alive:
            raise ConfigError(
                field, value, f"{value.kind} tells of a start; it cannot be asked again"
            )

    return check


def _ready(given: Probe | Mapping[str, Any] | None) -> Probe | None:
    made: Probe | None = _probe_of("ready", given)
    return made


def _alive(given: Probe | Mapping[str, Any] | None) -> Probe | None:
    made: Probe | None = _probe_of("alive", given)
    return made


def _probe_of(field: str, value: Any) -> Any:
    if not isinstance(value, (dict, Mapping)):
        return value
    from ._mapping import probe_from  # noqa: PLC0415 - it makes VMConfigs, and is for mappings alone

    return probe_from(field, value)


def _policy(field: str, value: Any, kind: type) -> Any:
    if not isinstance(value, (dict, Mapping)):
        return value
    from ._mapping import policy_from  # noqa: PLC0415 - the same

    return policy_from(field, value, kind)


def _stop(given: StopPolicy | Mapping[str, Any]) -> StopPolicy:
    made: StopPolicy = _policy("stop", given, StopPolicy)
    return made


def _limits(given: Limits | Mapping[str, Any]) -> Limits:
    made: Limits = _policy("limits", given, Limits)
    return made


def _log(given: LogPolicy | Mapping[str, Any]) -> LogPolicy:
    made: LogPolicy = _policy("log", given, LogPolicy)
    return made


def _restart(
    given: RestartPolicy | Mapping[str, Any] | Literal["never", "on-failure", "always"],
) -> RestartPolicy:
    value: Any = _policy("restart", given, RestartPolicy)
    if isinstance(value, RestartPolicy):
        return value
    if isinstance(value, str) and value in ("never", "on-failure", "always"):
        return RestartPolicy(when=value)  # type: ignore[arg-type] # narrowed just above
    raise ConfigError("restart", value, "must be never, on-failure, always or a RestartPolicy")


def _of(kind: type, example: str) -> Any:
    def check(_: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, kind):
            why = f"must be {kind.__name__}({example}), say"
            raise ConfigError(attribute.name, value, why)

    return check


def _codes(given: Sequence[int] | AbstractSet[int]) -> tuple[int, ...]:
    value: Any = given
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=repr)
    if isinstance(value, str) or not isinstance(value, (tuple, list, Sequence)):
        raise ConfigError("success_codes", value, "must be a sequence of exit codes, [0] say")
    if not all(isinstance(c, int) and not isinstance(c, bool) and 0 <= c <= 255 for c in value):  # noqa: PLR2004 - a byte
        raise ConfigError("success_codes", value, "every exit code must be 0 to 255")
    return tuple(value)


def _user(given: str | int | None) -> str | int | None:
    value: Any = given
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if value is None or (is_number and 0 <= value < _NO_USER):
        return value  # type: ignore[no-any-return] # a number or None
    if isinstance(value, str) and value:
        encodable("user", value)
        return value
    raise ConfigError("user", value, "must be a user's name or uid")


@knows_keywords(
    args="command", argv="command", cmd="command", cwd="path", directory="path",
    environ="env", environment="env",
)  # fmt: skip
@attrs.frozen
class VMConfig:
    """What to run, where, and how it is to be kept.

    The file system is looked at in ``allocate``, never here; a wrong value raises ConfigError.
    ``attrs.evolve(config, name="web-2")`` makes another one of it. A policy or a probe may be a
    mapping too: ``stop={"grace": 5.0}``, ``ready={"kind": "tcp", "port": 8000}``.

    Attributes:
        name: Its name, unique among a manager's VMs.
        command: The whole argv: text is split as a POSIX shell would, and run without a shell, to
            which alone ``$HOME``, ``|`` and ``*`` would mean anything.
        path: The directory to run in, or an executable file to run.
        env: Laid over the host's environment; nothing is interpolated.
        ready: A probe that must pass before ``allocate`` and ``reset`` return.
        alive: A probe that is asked at an interval while it runs.
        restart: ``'never'``, ``'on-failure'``, ``'always'`` or a RestartPolicy.
        stop: How it is asked to end.
        limits: Limits in force before its first instruction.
        log: What is kept of its output.
        inherit_env: Whether the host's environment is passed on; a list: these names alone.
        success_codes: Exit codes that mean success.
        user: Whom to run as, where the host may.
    """

    name: str = attrs.field(converter=_name)
    command: tuple[str, ...] = attrs.field(converter=_command)
    path: str = attrs.field(default=".", converter=_path, kw_only=True)
    env: Environment = attrs.field(default=Environment(), converter=_env, kw_only=True)
    ready: Probe | None = attrs.field(
        default=None, converter=_ready, validator=_probe("ready"), kw_only=True
    )
    alive: Probe | None = attrs.field(
        default=None, converter=_alive, validator=_probe("alive"), kw_only=True
    )
    restart: RestartPolicy = attrs.field(
        default=RestartPolicy(when="never"), converter=_restart, kw_only=True
    )
    stop: StopPolicy = attrs.field(
        default=StopPolicy(), converter=_stop,
        validator=_of(StopPolicy, "'SIGINT', grace=5.0"), kw_only=True,
    )  # fmt: skip
    limits: Limits = attrs.field(
        default=Limits(), converter=_limits, validator=_of(Limits, "memory=2**30"), kw_only=True
    )
    log: LogPolicy = attrs.field(
        default=LogPolicy(), converter=_log,
        validator=_of(LogPolicy, "file='web.log'"), kw_only=True,
    )  # fmt: skip
    inherit_env: bool | tuple[str, ...] = attrs.field(
        default=True, converter=_inherit, kw_only=True
    )
    success_codes: tuple[int, ...] = attrs.field(default=(0,), converter=_codes, kw_only=True)
    user: str | int | None = attrs.field(default=None, converter=_user, kw_only=True)
