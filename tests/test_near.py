"""A mistyped name is compared with few and short ones alone."""

from __future__ import annotations

from procvm._near import did_you_mean, near_names


def test_the_nearest_come_first_and_few() -> None:
    names = [f"worker-{number}" for number in range(20)]
    assert near_names("worker-77", [*names, "web"])[0] == "worker-7"
    assert len(near_names("worker", names)) == 3
    assert near_names("zzz", names) == ()


def test_very_many_or_very_long_ones_are_not_compared() -> None:
    assert near_names("worker", [f"worker-{number}" for number in range(10_000)]) == ()
    assert near_names("x" * 255, ["x" * 254]) == near_names("x" * 60, ["x" * 254]) == ()


def test_the_question_names_each_of_the_nearest_once() -> None:
    asked = did_you_mean(["prot", "prt", "hots"], ["port", "host"])
    assert asked == "did you mean 'port' or 'host'?"
    assert did_you_mean(["zzz"], ["port"]) == did_you_mean([], ["port"]) == ""
