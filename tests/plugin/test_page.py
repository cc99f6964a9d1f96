"""The suites on the page about tests are executed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
BLOCK = re.compile(r"^```python\n# (\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_suites_of_the_page_pass(pytester: pytest.Pytester) -> None:
    blocks = BLOCK.findall(PAGE.read_text())
    assert {name for name, _ in blocks} >= {"conftest.py", "test_fixtures.py", "test_web.py"}
    for name, text in blocks:
        (pytester.path / name).write_text(text)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    outcomes = result.parseoutcomes()
    assert result.ret == 0, result.stdout.str()
    assert outcomes["passed"] >= 3


LEAKS = """
from procvm import VMConfig, VMManager

kept = []


def test_leaks():
    kept.append(VMManager())
    kept[0].allocate(VMConfig("left", "sleep 1000"))
"""


def test_the_part_about_leaks_begins_with_a_conftest_that_finds_them(
    pytester: pytest.Pytester,
) -> None:
    part = PAGE.read_text().split("\n## When a test leaves something behind\n")[1]
    _, block, *_ = re.split(r"^```(?:python)?$", part.split("\n## ")[0], flags=re.MULTILINE)
    assert part.index(block) < 150, "one sentence is before it"
    pytester.makeconftest(block)
    pytester.makepyfile(LEAKS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*VM 'left', pid *"])
