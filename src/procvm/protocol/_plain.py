"""Copy anything to plain data, safely: no method of a stranger's class is ever called."""

from __future__ import annotations

import collections
import math
import sys
from typing import Any

__all__ = ["PlainCopy", "plain_copy", "plain_text"]

_DEEPEST = 100
_MOST = 250_000
_DIGITS = 4300
_BITS_PER_DIGIT = 3.3219
_ALWAYS_PRINTABLE = 2000  # bits: below the least limit of digits that Python can be given, 640
_DICTS: tuple[type, ...] = (dict, collections.OrderedDict, collections.defaultdict)
_type_name = type.__dict__["__name__"].__get__


def plain_text(text: str) -> str:
    """Return text that encodes as UTF-8; what does not is shown with backslashes."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _named(value: Any, words: str = "") -> str:
    """Name a value by its type alone; its own repr may do anything."""
    name = str.__str__(_type_name(type(value)))[:60]
    return f"<{name.encode('ascii', 'backslashreplace').decode()}{words}>"


class PlainCopy:
    """One copy, and where something had to be replaced in it.

    Attributes:
        value: The copy: None, bool, int, finite float, UTF-8 text, lists, dicts with text keys.
        replaced: For each top-level key (``''`` is the whole), the keys to the first value in it
            that was replaced by a short string.
    """

    __slots__ = ("_at", "_left", "_open", "replaced", "value")

    def __init__(self, value: Any) -> None:
        self.replaced: dict[str, tuple[str, ...]] = {}
        self._at: list[str] = []
        self._open: set[int] = set()
        self._left = _MOST
        try:
            self.value: Any = self._copy(value)
        except (RecursionError, MemoryError):  # a caller deep down, or a machine with nothing left
            self.replaced = {"": ()}
            self.value = _named(value, ", too much")

    def _copy(self, value: Any) -> Any:
        kind = type(value)
        if kind is dict:
            return self._container(value, is_dict=True)
        if kind is str:
            if value.isascii() or _encodes(value):
                return value
            return self._replace(value, " that is no UTF-8")
        if value is None or kind is bool:
            return value
        if kind is float:
            return value if math.isfinite(value) else self._replace(value, f" {value}")
        if kind is int:
            return value if _is_printable(value) else self._replace(value, ", too long")
        is_dict = any(kind is one for one in _DICTS)  # a stranger's metaclass is not asked
        if is_dict or issubclass(kind, list):
            return self._container(value, is_dict=is_dict)
        if issubclass(kind, str):  # the builtins' own methods: a subclass's are never called
            return self._copy(str.__str__(value))
        if issubclass(kind, int):
            return self._copy(int.__int__(value))
        if issubclass(kind, float):
            return self._copy(float.__float__(value))
        return self._replace(value)

    def _mark(self) -> None:
        self.replaced.setdefault(self._at[0] if self._at else "", tuple(self._at))

    def _replace(self, value: Any, words: str = "") -> str:
        self._mark()
        return _named(value, words)

    def _container(self, value: Any, *, is_dict: bool) -> Any:
        number = id(value)
        if number in self._open:
            return self._replace(value, ", cyclic")
        if len(self._at) >= _DEEPEST:
            return self._replace(value, ", too deep")
        self._open.add(number)
        copy = self._dict(value) if is_dict else self._list(value)
        self._open.discard(number)
        return copy

    def _dict(self, value: Any) -> dict[str, Any]:
        copy: dict[str, Any] = {}
        for key, item in list(dict.items(value)):  # one step: others may change it meanwhile
            self._left -= 1
            if self._left < 0:
                self._mark()
                copy["<more>"] = "<more>"
                break
            if type(key) is not str or key in copy or not (key.isascii() or _encodes(key)):
                key = self._key(key, copy)  # noqa: PLW2901 - the same key, as text
            kind = type(item)
            if item is None or (kind is str and item.isascii()) or (
                kind is float and math.isfinite(item)
            ):  # most are  # fmt: skip
                copy[key] = item
                continue
            self._at.append(key)
            copy[key] = self._copy(item)
            self._at.pop()
        return copy

    def _key(self, key: Any, copy: dict[str, Any]) -> str:
        """Return a key as text; one that is none is named, and hides no other."""
        name = str.__str__(key) if issubclass(type(key), str) else _named(key)
        is_text = issubclass(type(key), str) and _encodes(name)
        if not is_text and issubclass(type(key), str):
            name = _named(key, " that is no UTF-8")
        if not is_text or name in copy:
            while name in copy:
                name = f"<{len(copy)}: {name}>"
            self._at.append(name)
            self._mark()
            self._at.pop()
        return name

    def _list(self, value: Any) -> list[Any]:
        copy: list[Any] = []
        self._at.append("[]")
        for item in list.copy(value):
            self._left -= 1
            if self._left < 0:
                self._mark()
                copy.append("<more>")
                break
            copy.append(self._copy(item))
        self._at.pop()
        return copy


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_printable(number: int) -> bool:
    bits = number.bit_length()
    if bits < _ALWAYS_PRINTABLE:
        return True
    digits = min(_DIGITS, sys.get_int_max_str_digits() or _DIGITS)
    return bits < digits * _BITS_PER_DIGIT - 4


def plain_copy(value: Any) -> Any:
    """Return a copy of anything as plain data.

    Plain data is None, bool, int, finite float, text that encodes as UTF-8, lists and dicts
    with text keys of these, at most 100 deep and without a cycle. Any other value, a number
    too long to print included, is replaced where it stands by a short string; after 250 000
    values the rest is left out, and that is said.
    """
    return PlainCopy(value).value
