"""VMConfig: what a program is, and how it is to be kept."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal

import attrs

from .._probe import Probe
from ..errors import ConfigError
from ._policies import Limits, LogPolicy, RestartPolicy, StopPolicy

__all__ = ["Environment", "VMConfig"]

_LONGEST_NAME = 255
_LONGEST_TEXT = 2**17  # the longest word that Linux can pass; shlex takes time by its square
_NO_USER = 2**32 - 1  # chown(2) and setreuid(2) take it for "leave it"
_ID = re.compile(r"[0-9a-f]{32}")
_SHOWN = 200
_OPERATORS = frozenset(["|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "2>&1", "&>"])
_REDIRECTIONS = (">", "<", "1>", "2>", "&>", "~/")
_log = logging.getLogger("procvm")


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


def _encodable(field: str, value: str) -> None:
    if "\0" in value:
        raise ConfigError(field, "...", "holds a NUL, which no system call can carry")
    if value.isascii():
        return
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as e:
        raise ConfigError(field, "...", "holds a lone surrogate, which is no character") from e


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
    value: Any = given
    if isinstance(value, str):
        if len(value) > _LONGEST_TEXT:
            why = f"is longer than {_LONGEST_TEXT} characters; pass a sequence of words"
            raise ConfigError("command", value[:_SHOWN], why)
        _encodable("command", value)
        try:
            words: Sequence[Any] = shlex.split(value)
        except ValueError as e:
            raise ConfigError("command", value[:_SHOWN], f"cannot be split: {e}") from e
        if any(map(_is_of_shell, words)):  # quoted or not: a second look costs as much again
            _warn_of_shell(value)
    elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        words = value
    else:
        raise ConfigError("command", value, "must be text or a sequence of text")
    if not words:
        raise ConfigError("command", value, "is empty; name a program")
    texts = tuple(map(_word, words))
    if not texts[0]:
        raise ConfigError("command", value, "its first word is empty; name a program")
    return texts


def _is_of_shell(word: str) -> bool:
    is_end = word.endswith(";") and not word.endswith("\\;")
    return word in _OPERATORS or word.startswith(_REDIRECTIONS) or is_end


def _warn_of_shell(text: str) -> None:
    """Say so where a text has a word that only a shell would understand, and does not quote it."""
    with contextlib.suppress(ValueError):
        for word in shlex.split(text, posix=False):  # which leaves the quotes
            if _is_of_shell(word):
                why = "is passed on as it is: only a shell knows it, ['sh', '-c', text] say"
                _log.warning("command=%.200r: its word %r %s", text, word, why)
                return


def _word(value: Any) -> str:
    text = value
    if isinstance(value, os.PathLike):
        text = os.fspath(value)
    if not isinstance(text, str):
        why = "every word must be text or a PathLike of text; of a number, str() makes it"
        raise ConfigError("command", value, why)
    _encodable("command", text)
    return text


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
    _encodable("path", text)
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
            why = f"a value must be text and is of type {type(text).__name__}; str() makes it"
            raise ConfigError(f"env[{key!r}]", "...", why)
        _encodable("env", key)
        _encodable(f"env[{key[:80]!r}]", text)
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
        _encodable("inherit_env", name)
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


def _restart(given: RestartPolicy | Literal["never", "on-failure", "always"]) -> RestartPolicy:
    value: Any = given
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
        _encodable("user", value)
        return value
    raise ConfigError("user", value, "must be a user's name or uid")


@attrs.frozen
class VMConfig:
    """What to run, where, and how it is to be kept.

    The file system is looked at in ``allocate``, never here; a wrong value raises ConfigError.
    ``attrs.evolve(config, name="web-2")`` makes another one of it.

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
    env: Environment = attrs.field(factory=Environment, converter=_env, kw_only=True)
    ready: Probe | None = attrs.field(default=None, validator=_probe("ready"), kw_only=True)
    alive: Probe | None = attrs.field(default=None, validator=_probe("alive"), kw_only=True)
    restart: RestartPolicy = attrs.field(
        default=RestartPolicy(when="never"), converter=_restart, kw_only=True
    )
    stop: StopPolicy = attrs.field(
        factory=StopPolicy, validator=_of(StopPolicy, "'SIGINT', grace=5.0"), kw_only=True
    )
    limits: Limits = attrs.field(
        factory=Limits, validator=_of(Limits, "memory=2**30"), kw_only=True
    )
    log: LogPolicy = attrs.field(
        factory=LogPolicy, validator=_of(LogPolicy, "file='web.log'"), kw_only=True
    )
    inherit_env: bool | tuple[str, ...] = attrs.field(
        default=True, converter=_inherit, kw_only=True
    )
    success_codes: tuple[int, ...] = attrs.field(default=(0,), converter=_codes, kw_only=True)
    user: str | int | None = attrs.field(default=None, converter=_user, kw_only=True)
