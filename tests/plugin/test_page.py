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
