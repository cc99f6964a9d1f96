from __future__ import annotations

import html
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procvm import VMState
from procvm.display._markup import COLOURS, Markup, cell, clock, escaped, size


def brightness(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_state_has_a_colour() -> None:
    assert set(COLOURS) == set(VMState)


@pytest.mark.parametrize("colour", sorted(set(COLOURS.values())))
def test_a_colour_stands_out_from_white_and_from_black(colour: str) -> None:
    light = brightness(colour)
    assert (1.0 + 0.05) / (light + 0.05) >= 3
    assert (light + 0.05) / (0.0 + 0.05) >= 3


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_any_text_is_legal_in_xml_and_in_attributes(text: str) -> None:
    element = ET.fromstring(f'<p title="{escaped(text)}">{escaped(text)}</p>')  # noqa: S314 - ours
    escaped(text).encode()
    assert len(element) == 0
    if text.isprintable() and text.isascii():
        assert element.text == (text or None)
        assert element.get("title") == text


def test_what_turns_the_direction_of_text_is_replaced() -> None:
    assert escaped("a\u202eb\u2066c") == "a\ufffdb\ufffdc"


def test_what_is_absent_is_a_dash_and_no_zero() -> None:
    assert cell(None) == Markup("&#8211;")
    assert cell(0) == "0"


def test_a_long_text_is_cut_and_whole_when_pointed_at() -> None:
    text = '"' * 300
    root = ET.fromstring(cell(text))  # noqa: S314 - ours
    assert root.get("title") == text
    assert root.text == '"' * 200 + "\u2026"
    assert html.unescape(cell("x" * 200)) == "x" * 200


def test_times_are_utc_and_no_number_breaks_them() -> None:
    assert clock(0.25) == "1970-01-01 00:00:00.250 UTC"
    assert clock(None) is None
    for at in (1e300, -1e300, float("nan"), float("inf")):
        assert clock(at)


def test_bytes_have_units() -> None:
    sizes = [size(n) for n in (0, 1023, 1024, 5 * 2**20, 2**50)]
    assert sizes == ["0 B", "1023 B", "1.0 KiB", "5.0 MiB", "1024.0 TiB"]
