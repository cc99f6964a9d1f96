from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procvm.display._axis import duration, ticks


@given(st.floats(min_value=1e-9, max_value=1e12))
def test_ticks_are_few_even_and_inside(seconds: float) -> None:
    found = ticks(seconds)
    assert found[0] == 0.0
    assert 2 <= len(found) <= 9
    assert found[-1] <= seconds * (1 + 1e-6)
    step = found[1]
    assert found == pytest.approx([number * step for number in range(len(found))])
    assert seconds - found[-1] < step * (1 + 1e-6)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_no_time_has_one_tick(seconds: float) -> None:
    assert ticks(seconds) == [0.0]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(90.0, "1.5 min"), (3600.0, "1 h"), (0.25, "250 ms"), (45.0, "45 s"), (172800.0, "2 d")],
)
def test_a_duration_is_said_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_hours_are_marked_by_hours_and_not_by_thousands_of_seconds() -> None:
    assert [duration(at) for at in ticks(6 * 3600.0)][:3] == ["0 s", "1 h", "2 h"]
    assert [duration(at) for at in ticks(300.0)][:3] == ["0 s", "1 min", "2 min"]
