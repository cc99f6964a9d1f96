from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[2]


def test_the_benchmarks_print_a_table_and_draw_a_chart(tmp_path: Path) -> None:
    svg = tmp_path / "chart.svg"
    names = ["subprocess.Popen", "asyncio subprocess", 'procvm, "tree"', 'procvm, "group"']
    only = [word for name in names for word in ("--only", name)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "2", "--svg", str(svg), *only],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| ")]
    figures = {row[1].strip(): [float(cell) for cell in row[2:5]] for row in rows if row[1] != " "
               if row[1].strip() in names}  # fmt: skip
    assert list(figures) == names
    assert all(0 < figure < 10_000 for row in figures.values() for figure in row)
    assert "| allocate |" in done.stdout
    texts = {element.text for element in ET.parse(svg).iter() if element.text}  # noqa: S314 - our own
    assert {*names, "start", "stop", "exit seen"} <= texts


def test_what_a_readiness_wait_adds_is_a_table() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.readiness", "1"],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == ["tcp", "unix", "file", "log"] * 3
    assert all(0 < float(cell) < 60_000 for row in rows for cell in row[1:])


def test_the_chart_in_the_docs_is_one_of_ours() -> None:
    root = ET.parse(ROOT / "docs" / "performance.svg").getroot()  # noqa: S314 - our own
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (ROOT / "docs" / "performance.md").read_text().count("(performance.svg)") == 1
