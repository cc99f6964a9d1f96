"""The house: sizes, names, and what an import costs."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import procvm
from procvm import probes
from procvm.protocol import Policy

SOURCES = sorted(Path(procvm.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: "/".join(p.parts[-2:]))
def test_a_file_has_one_subject(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert path.stem not in ("utils", "helpers", "common", "misc")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < 45, node.name


def test_every_public_name_is_there() -> None:
    for name in procvm.__all__:
        assert getattr(procvm, name) is not None


@pytest.mark.parametrize(
    "maker",
    [procvm.VMConfig, procvm.StopPolicy, procvm.RestartPolicy, procvm.Limits, procvm.LogPolicy,
     procvm.FakeProgram, Policy, *(getattr(probes, name) for name in probes.__all__)],
)  # fmt: skip
def test_what_a_configuration_takes_is_told_by_its_signature(maker: Any) -> None:
    parameters = inspect.signature(maker).parameters.values()
    assert [one.name for one in parameters if one.annotation == "Any"] == []


def test_a_public_module_names_what_it_shows_before_it_is_used() -> None:
    code = "import procvm; assert dir(procvm) == sorted(procvm.__all__), dir(procvm)"
    code += "; assert dir(procvm.probes) == sorted(procvm.probes.__all__), dir(procvm.probes)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_import_is_cheap() -> None:
    heavy = "{'asyncio', 'http.client', 'psutil', 'cattrs', 'matplotlib', 'subprocess'}"
    code = f"import sys, procvm; assert not {heavy} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
