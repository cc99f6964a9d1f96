"""The prose is executed."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import procvm
from procvm import probes

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


PAGES = ["async", "envelope", "backends"]


@pytest.mark.parametrize("page", [f"docs/{page}.md" for page in PAGES])
def test_the_blocks_of_a_page_run_one_after_the_other(page: str) -> None:
    blocks = BLOCK.findall((ROOT / page).read_text())
    assert blocks
    program = "\n".join(blocks)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)


def test_the_readme_blocks_of_shell_are_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    shell = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert "examples/quickstart.py" in shell[0]
    assert "pytest" in shell[1]


def test_the_states_page_is_rendered_from_the_table() -> None:
    script = str(ROOT / "docs" / "render_states.py")
    subprocess.run([sys.executable, script, "--check"], check=True, timeout=60)


@pytest.mark.parametrize("module", [procvm, probes], ids=lambda m: m.__name__)
def test_the_doctest_of_a_public_module_holds(module: ModuleType) -> None:
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0


def test_the_main_job_runs() -> None:
    script = str(ROOT / "examples" / "quickstart.py")
    done = subprocess.run(
        [sys.executable, script], check=True, timeout=100, capture_output=True, text=True
    )
    assert "left: []" in done.stdout
