"""Floor 2, the words of a command: of a VM's and of a probe's, which read them alike."""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Sequence
from typing import Any

from .errors import ConfigError

__all__ = ["encodable", "words_of"]

_LONGEST_TEXT = 2**17  # the longest word that Linux can pass; shlex takes time by its square
_SHOWN = 200
_OPERATORS = frozenset(["|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "2>&1", "&>", "~"])
_REDIRECTIONS = (">", "<", "1>", "2>", "&>", "~/")
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]|\$\(|`")
_PATTERN = re.compile(r"[\w./-]*(/\*|\*\.)|\*$")  # of files; a* alone may be of a program
_AS_WRITTEN = re.compile(r"""(?:[^ \t\r\n'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+""", re.DOTALL)
_log = logging.getLogger("procvm")


def encodable(field: str, value: str) -> None:
    """Refuse a text that no system call can carry."""
    if "\0" in value:
        raise ConfigError(field, "...", "holds a NUL, which no system call can carry")
    if value.isascii():
        return
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as e:
        raise ConfigError(field, "...", "holds a lone surrogate, which is no character") from e


def words_of(field: str, value: Any) -> tuple[str, ...]:
    """Return the whole argv that ``value`` is: a text, split as a POSIX shell would, or words.

    Raises:
        ConfigError: It is none; ``field`` is the one that it names.
    """
    if isinstance(value, str):
        words: Sequence[Any] = _split(field, value)
    elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        words = value
    else:
        raise ConfigError(field, value, "must be text or a sequence of text")
    if not words:
        raise ConfigError(field, value, "is empty; name a program")
    texts = tuple(_word(field, word) for word in words)
    if not texts[0]:
        raise ConfigError(field, value, "its first word is empty; name a program")
    return texts


def _split(field: str, text: str) -> list[str]:
    if len(text) > _LONGEST_TEXT:
        why = f"is longer than {_LONGEST_TEXT} characters; pass a sequence of words"
        raise ConfigError(field, text[:_SHOWN], why)
    encodable(field, text)
    try:
        words = shlex.split(text)
    except ValueError as e:
        raise ConfigError(field, text[:_SHOWN], f"cannot be split: {e}") from e
    if any(map(_is_of_shell, words)):  # quoted or not: that is looked at for these few
        _warn_of_shell(field, text)
    return words


def _is_of_shell(word: str) -> bool:
    is_end = word.endswith(";") and not word.endswith("\\;")
    is_sign = word in _OPERATORS or word.startswith(_REDIRECTIONS)
    is_expanded = _VARIABLE.match(word) or _PATTERN.match(word)
    return is_sign or is_end or is_expanded is not None


def _warn_of_shell(field: str, text: str) -> None:
    """Say so where a text has a word that only a shell would understand, and does not quote it."""
    for word in _AS_WRITTEN.findall(text):  # with its quotes
        if _is_of_shell(word):
            why = "is passed on as it is: only a shell knows it, ['sh', '-c', text] say"
            _log.warning("%s=%.200r: its word %r %s", field, text, word, why)
            return


def _word(field: str, value: Any) -> str:
    text = value
    if isinstance(value, os.PathLike):
        text = os.fspath(value)
    if not isinstance(text, str):
        why = "every word must be text or a PathLike of text; of a number, str() makes it"
        raise ConfigError(field, value, why)
    encodable(field, text)
    return text
