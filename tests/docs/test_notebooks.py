"""Pages that are notebooks: the build of the docs runs them, so here only the build is tried."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADER = "---\nfile_format: mystnb\nkernelspec:\n  name: python3\n"
PAGES = [page for page in DOCS.rglob("*.md") if "{code-cell}" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_with_cells_has_the_header_without_which_nothing_would_run_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(HEADER)
    cells = CELL.findall(text)
    assert len(cells) == text.count("{code-cell}")
    for cell in cells:
        compile(cell, page.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert "```python" not in text, "a block that no test runs"


def build(tmp_path: Path, cell: str) -> subprocess.CompletedProcess[str]:
    """Build a site of one page with one cell, as the docs are built."""
    for module in ("sphinx", "myst_nb", "furo", "ipykernel"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install 'procvm[docs]'")
    source = tmp_path / "source"
    source.mkdir()
    (source / "index.md").write_text(f"{HEADER}---\n# One\n\n```{{code-cell}}\n{cell}\n```\n")
    users = tmp_path / "user" / "kernels" / "python3"
    users.mkdir(parents=True)
    (users / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "theirs"}))
    place = ["-c", str(DOCS), "-d", str(tmp_path / "trees"), str(source), str(tmp_path / "html")]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "-n", "-W", "-q", "-b", "html", *place],
        env=os.environ | {"JUPYTER_DATA_DIR": str(tmp_path / "user")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_page_is_run_by_the_interpreter_that_builds_and_nothing_is_said(tmp_path: Path) -> None:
    done = build(tmp_path, f"import sys\nassert sys.executable == {sys.executable!r}\n6 * 7")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert ">42" in re.sub(r"\s", "", (tmp_path / "html" / "index.html").read_text())


def test_a_cell_that_fails_fails_the_build(tmp_path: Path) -> None:
    done = build(tmp_path, "1 / 0")
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stderr
