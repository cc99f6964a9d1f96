"""The pages of docs/howto are executed, each as one program; or tested by tests/processes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(page.name for page in (ROOT / "docs" / "howto").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONFIG = re.compile(r"^<!-- config: (\S+) -->\n```python$", re.MULTILINE)


@pytest.mark.parametrize("page", [p for p in PAGES if p != "index.md"])
def test_a_page_runs(page: str, tmp_path: Path) -> None:
    """Aside from the configurations of services, which tests/processes run."""
    text = (ROOT / "docs" / "howto" / page).read_text()
    blocks = BLOCK.findall(CONFIG.sub("```of another test", text))
    assert blocks
    program = "\n".join(blocks)
    subprocess.run(
        [sys.executable, "-W", "error", "-c", program], check=True, timeout=100, cwd=tmp_path
    )
    assert list(tmp_path.iterdir()) == []


def test_each_configuration_on_the_page_of_services_is_tested() -> None:
    text = (ROOT / "docs" / "howto" / "services.md").read_text()
    names = CONFIG.findall(text)
    assert len(names) == 8
    tests = "".join(test.read_text() for test in (ROOT / "tests" / "processes").glob("test_*.py"))
    assert [name for name in names if f'config_on_page("{name}"' not in tests] == []
