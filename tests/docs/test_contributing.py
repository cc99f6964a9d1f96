"""The tour of the house shows every floor that there is, and its commands are there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import procvm

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def _floors() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    return [layer for layer in contracts[0]["layers"][::-1] if "(" not in layer]


def test_every_floor_has_its_ten_lines() -> None:
    tour = PAGE.partition("## The house, floor by floor")[2]
    chapters = tour.split("\n### ")[1:]
    shown = [re.findall(r"`(\w+)(?:/|\.py)`", chapter.split("\n")[0]) for chapter in chapters]
    assert {name for names in shown for name in names} >= set(_floors())
    for chapter in chapters:
        assert len(chapter.strip().split("\n")[2:]) == 10, chapter.split("\n")[0]


def test_every_file_that_the_tour_names_is_there() -> None:
    source = Path(procvm.__file__).parent
    names = re.findall(r"`(?:\w+/)?(_\w+\.py|schema\.json|base\.py)`", PAGE)
    assert len(names) > 10
    for name in names:
        assert list(source.rglob(name)), name
    for path in re.findall(r"`(?:python )?((?:tests|docs|\.ci)/[\w./]+)", PAGE):
        assert (ROOT / path).exists() or path == "docs/_build/html", path
