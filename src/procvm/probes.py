"""Floor 2, probes: what "ready" and "alive" mean for a program, as data that a backend runs.

>>> from procvm import VMConfig, probes
>>> web = VMConfig("web", "serve", ready=probes.tcp(8000, timeout=5.0))
>>> alive = probes.all_of(probes.http("http://127.0.0.1:8000/"), probes.file("web.pid"))
"""

from __future__ import annotations

import inspect
import itertools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Unpack
from urllib.parse import urlsplit

import attrs

from ._callable import why_not
from ._command import words_of
from ._keywords import knows_keywords
from ._probe import Options, Probe
from .errors import ConfigError

__all__ = [
    "AllOf", "AnyOf", "Call", "Command", "File", "Http", "Log", "Notify", "Probe", "Tcp", "Unix",
    "all_of", "any_of", "call", "command", "file", "http", "log", "notify", "tcp", "unix",
]  # fmt: skip


def __dir__() -> list[str]:
    """Name the probes, for whoever lets a notebook complete them."""
    return list(__all__)


_LAST_PORT = 65535
_MOST_CODES = 1000
_NOT_IN_URLS = re.compile(r"[^!-~]")  # http.client sends ASCII without a blank


def _port(probe: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _LAST_PORT:
        why = f"must be a port, a number from 1 to {_LAST_PORT}; the host comes after it"
        raise ConfigError(attribute.name, value, why)


def _is_text(value: Any) -> bool:
    """Whether a system call can carry it: file names of any bytes come as surrogateescape."""
    try:
        return isinstance(value, str) and b"\0" not in value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def _text(probe: Any, attribute: Any, value: Any) -> None:
    if not _is_text(value) or not value:
        why = "must be text, not empty, without NUL and lone surrogates"
        raise ConfigError(attribute.name, value, why)


def _fspath(value: str | os.PathLike[str]) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


@knows_keywords()
@attrs.frozen(kw_only=True)
class Tcp(Probe):
    """Passes when a TCP connection is accepted."""

    kind = "tcp"
    port: int = attrs.field(validator=_port)
    host: str = attrs.field(default="127.0.0.1", validator=_text)


def _http_url(probe: Any, attribute: Any, value: Any) -> None:
    _text(probe, attribute, value)
    if _NOT_IN_URLS.search(value):
        why = "has a blank, a control or another character that must be percent-encoded"
        raise ConfigError("url", value, why)
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError as e:
        raise ConfigError("url", value, f"cannot be read: {e}") from e
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ConfigError("url", value, "must begin with http:// or https:// and name a host")
    if port == 0:
        raise ConfigError("url", value, f"its port must be 1 to {_LAST_PORT}")
    if "@" in url.netloc:  # a secret in a repr, and http.client would not send it
        why = "names a user; a password has no place in a probe"
        raise ConfigError("url", f"{url.scheme}://...", why)


def _status(given: int | Iterable[int]) -> frozenset[int]:
    value: Any = given
    if isinstance(value, int) and not isinstance(value, bool):
        value = (value,)
    try:
        numbers = frozenset(itertools.islice(value, _MOST_CODES + 1))
    except TypeError:
        numbers = frozenset()
    is_right = all(type(n) is int and 100 <= n < _MOST_CODES for n in numbers)  # noqa: PLR2004 - RFC 9110
    if not numbers or not is_right:
        raise ConfigError("status", value, "must be HTTP status codes, range(200, 400) say")
    return numbers


def _codes(status: frozenset[int]) -> str:
    """Return the repr of status codes: two hundred numbers in a row are a range."""
    codes = range(min(status), max(status) + 1)
    return repr(codes) if 1 < len(status) == len(codes) else repr(sorted(status))


@knows_keywords()
@attrs.frozen(kw_only=True)
class Http(Probe):
    """Passes when a GET is answered with one of the wanted status codes; follows no redirect."""

    kind = "http"
    url: str = attrs.field(validator=_http_url)
    status: frozenset[int] = attrs.field(
        default=frozenset(range(200, 400)), converter=_status, repr=_codes
    )


@knows_keywords()
@attrs.frozen(kw_only=True)
class Unix(Probe):
    """Passes when a Unix stream socket accepts a connection."""

    kind = "unix"
    path: str = attrs.field(converter=_fspath, validator=_text)


@knows_keywords()
@attrs.frozen(kw_only=True)
class File(Probe):
    """Passes when a file exists, also one that an earlier life has left."""

    kind = "file"
    path: str = attrs.field(converter=_fspath, validator=_text)


def _pattern(probe: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, str):
        raise ConfigError("pattern", value, "must be text: a regular expression")
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as e:
        raise ConfigError("pattern", value, f"is no regular expression: {e}") from e


@knows_keywords()
@attrs.frozen(kw_only=True)
class Log(Probe):
    """Passes when a line of this generation's output matches, finished or not."""

    kind = "log"
    pattern: str = attrs.field(validator=_pattern)

    @property
    def may_be_alive(self) -> bool:
        """A line is an event, no state."""
        return False


@knows_keywords()
@attrs.frozen(kw_only=True)
class Notify(Probe):
    """Passes when the program says READY=1 on its NOTIFY_SOCKET (sd_notify)."""

    kind = "notify"

    @property
    def may_be_alive(self) -> bool:
        """A message is an event, no state."""
        return False


def _argv(given: str | Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    return words_of("argv", given)


@knows_keywords()
@attrs.frozen(kw_only=True)
class Command(Probe):
    """Passes when a command ends with code 0."""

    kind = "command"
    argv: tuple[str, ...] = attrs.field(converter=_argv)


def _function(probe: Any, attribute: Any, value: Any) -> None:
    if not callable(value):
        raise ConfigError("function", value, "must be callable without arguments")
    if inspect.iscoroutinefunction(value):
        why = "is a coroutine function, which a probe's thread cannot await: pass a plain one"
        raise ConfigError("function", value, why)
    why = why_not(value)
    if why:
        raise ConfigError("function", value, f"must be callable without arguments: {why}")


@knows_keywords()
@attrs.frozen(kw_only=True)
class Call(Probe):
    """Passes when a function returns something true; an exception is a failure with its text.

    It may return a pair as well, of whether it passes and a text that is shown as the reason.
    """

    kind = "call"
    function: Callable[[], Any] = attrs.field(validator=_function)


def _several(given: Sequence[Probe]) -> tuple[Probe, ...]:
    value: Any = given
    probes = tuple(value) if isinstance(value, (tuple, list)) else ()
    if not probes or not all(isinstance(p, Probe) for p in probes):
        why = "must be probes, at least one, each an argument: all_of(*several) of a list"
        raise ConfigError("probes", value, why)
    return probes


@knows_keywords()
@attrs.frozen(kw_only=True)
class AllOf(Probe):
    """Passes when every one of several probes passes."""

    kind = "all_of"
    probes: tuple[Probe, ...] = attrs.field(converter=_several)

    @property
    def may_be_alive(self) -> bool:
        """Only when all of them may."""
        return all(p.may_be_alive for p in self.probes)


@knows_keywords()
@attrs.frozen(kw_only=True)
class AnyOf(Probe):
    """Passes when at least one of several probes passes."""

    kind = "any_of"
    probes: tuple[Probe, ...] = attrs.field(converter=_several)

    @property
    def may_be_alive(self) -> bool:
        """Only when all of them may."""
        return all(p.may_be_alive for p in self.probes)


def tcp(port: int, host: str = "127.0.0.1", **options: Unpack[Options]) -> Tcp:
    """Pass when a TCP connection to ``host:port`` is accepted.

    ``options`` are what every Probe has: ``timeout`` in seconds, and for ``alive`` ``interval`` in
    seconds and ``failures``.
    """
    return Tcp(port=port, host=host, **options)


def http(
    url: str, status: int | Iterable[int] = range(200, 400), **options: Unpack[Options]
) -> Http:
    """Pass when a GET of ``url`` is answered with a status among ``status``.

    ``options`` are what every Probe has: ``timeout`` in seconds, and for ``alive`` ``interval`` in
    seconds and ``failures``.
    """
    return Http(url=url, status=status, **options)


def unix(path: str | os.PathLike[str], **options: Unpack[Options]) -> Unix:
    """Pass when the Unix socket at ``path``, relative to where the VM runs, accepts a connection.

    ``options`` are what every Probe has: ``timeout`` in seconds, and for ``alive`` ``interval`` in
    seconds and ``failures``.
    """
    return Unix(path=path, **options)


def file(path: str | os.PathLike[str], **options: Unpack[Options]) -> File:
    """Pass when a file exists at ``path``, relative to the directory where the VM runs.

    ``options`` are what every Probe has: ``timeout`` in seconds, and for ``alive`` ``interval`` in
    seconds and ``failures``.
    """
    return File(path=path, **options)


def log(pattern: str, **options: Unpack[Options]) -> Log:
    """Pass when ``re.search(pattern, line)`` finds something in a line of output.

    What the program keeps in a buffer is not seen: Python's ``print`` into a pipe, without ``-u``.

    ``options`` are what every Probe has: ``timeout`` in seconds, and for ``alive`` ``interval`` in
    seconds and ``failures``.
    """
    return Log(pattern=pattern, **options)


def notify(**options: Unpack[Options]) -> Notify:
    """Pass when the program says READY=1 on its NOTIFY_SOCKET.

    ``options`` are what every Probe has: ``timeout`` in seconds, and for ``alive`` ``interval`` in
    seconds and ``failures``.
    """
    return Notify(**options)


def command(argv: str | Sequence[str | os.PathLike[str]], **options: Unpack[Options]) -> Command:
    """Pass when ``argv`` runs and ends with code 0; text is split as a VM's command is.

    ``options`` are what every Probe has: ``timeout`` in seconds, and for ``alive`` ``interval`` in
    seconds and ``failures``.
    """
    return Command(argv=argv, **options)


def call(function: Callable[[], Any], **options: Unpack[Options]) -> Call:
    """Pass when ``function()``, called in a thread, returns something true.

    Or a pair, of whether it passes and a text: ``(False, "no leader yet")``.

    ``options`` are what every Probe has: ``timeout`` in seconds, and for ``alive`` ``interval`` in
    seconds and ``failures``.
    """
    return Call(function=function, **options)


def all_of(*several: Probe, **options: Unpack[Options]) -> AllOf:
    """Pass when all of several probes pass.

    ``options`` are what every Probe has: ``timeout`` in seconds, which counts instead of those of
    the parts, and for ``alive`` ``interval`` in
    seconds and ``failures``.
    """
    return AllOf(probes=several, **options)


def any_of(*several: Probe, **options: Unpack[Options]) -> AnyOf:
    """Pass when any of several probes passes.

    ``options`` are what every Probe has: ``timeout`` in seconds, which counts instead of those of
    the parts, and for ``alive`` ``interval`` in
    seconds and ``failures``.
    """
    return AnyOf(probes=several, **options)
