"""The page of faults tells the truth about the tests."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
LAST = 82


def test_every_fault_has_its_tests_or_a_reason() -> None:
    page = (ROOT / "docs" / "faults.md").read_text()
    rows = {int(number): (does, tests) for number, _, does, tests in ROW.findall(page)}
    written: dict[int, set[str]] = {}
    for file in (ROOT / "tests" / "faults").glob("test_*.py"):
        for name in re.findall(r"^def (test(?:_\d\d)+_\w+)", file.read_text(), re.MULTILINE):
            for number in re.findall(r"\d\d", re.split(r"_(?=[a-z])", name)[0]):
                written.setdefault(int(number), set()).add(name)
    assert sorted(rows) == list(range(1, LAST + 1))
    for number, (does, tests) in rows.items():
        assert set(re.findall(r"`(\w+)`", tests)) == written.get(number, set()), number
        assert written.get(number) or "Not tested: " in does, number
