from __future__ import annotations

import collections
import enum
import json
import math
from typing import Any

import pytest

from procvm.protocol import plain_copy


def _deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def _serialised(value: Any) -> str:
    text = json.dumps(value, allow_nan=False)
    text.encode("utf-8")
    return text


def test_plain_data_is_copied_whole() -> None:
    value: dict[str, Any] = {"a": [1, 2.5, None, True, "ü", {"b": []}], "": {}}
    copy = plain_copy(value)
    assert copy == value
    assert copy is not value
    assert copy["a"] is not value["a"]


def test_a_hundred_levels_are_kept_and_one_more_is_not() -> None:
    assert plain_copy(_deep(100)) == _deep(100)
    assert "too deep" in _serialised(plain_copy(_deep(101)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, b"x", {1}, 1j, object(), (1,)])
def test_what_is_no_plain_data_is_replaced_where_it_stands(value: Any) -> None:
    copy = plain_copy({"a": [1, value], "b": 2})
    assert copy["b"] == 2
    assert copy["a"][0] == 1
    assert type(copy["a"][1]) is str
    assert len(copy["a"][1]) < 100


def test_a_lone_surrogate_is_replaced_as_value_and_as_key() -> None:
    copy = plain_copy({"a": "\ud800", "\udc80": 1})
    assert json.dumps(copy, ensure_ascii=False).encode("utf-8")
    assert list(copy.values())[1] == 1


def test_a_number_too_long_to_print_is_replaced_and_a_long_one_is_kept() -> None:
    assert plain_copy(10**4000) == 10**4000
    assert type(plain_copy(10**5000)) is str
    assert type(plain_copy(-(10**5000))) is str


def test_a_cycle_is_cut() -> None:
    value: dict[str, Any] = {"a": []}
    value["a"].append(value)
    assert plain_copy(value) == {"a": ["<dict, cyclic>"]}


def test_the_same_list_twice_is_no_cycle() -> None:
    shared = [1]
    assert plain_copy([shared, shared]) == [[1], [1]]


def test_a_hundred_thousand_levels_are_cut() -> None:
    assert "too deep" in _serialised(plain_copy(_deep(100_000)))


def test_what_would_unfold_for_ever_ends() -> None:
    value: list[Any] = []
    for _ in range(90):
        value = [value, value]
    assert "<more>" in _serialised(plain_copy(value))


def test_keys_that_are_no_text_hide_no_other() -> None:
    copy = plain_copy({1: "a", 2: "b", "<int>": "c", None: "d"})
    assert sorted(copy.values()) == ["a", "b", "c", "d"]
    assert all(type(key) is str for key in copy)


class _Word(enum.StrEnum):
    A = "a"


def test_numbers_and_words_of_subclasses_become_plain() -> None:
    copy = plain_copy([_Word.A, enum.IntEnum("N", {"X": 3}).X])  # type: ignore[attr-defined] # made here
    assert [type(one) for one in copy] == [str, int]
    assert copy == ["a", 3]


def test_the_dicts_of_the_standard_library_are_dicts() -> None:
    assert plain_copy(collections.OrderedDict(a=1)) == {"a": 1}
    assert plain_copy(collections.defaultdict(list, a=1)) == {"a": 1}


def test_no_method_of_a_strangers_class_is_called() -> None:
    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            raise AssertionError(name)

    class Hostile(dict, metaclass=Meta):  # type: ignore[type-arg] # hostile enough
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

        def __iter__(self) -> Any:
            raise AssertionError

    assert plain_copy({"a": Hostile(b=1)}) == {"a": "<Hostile>"}
