"""The reference has every public name, and every name in it is there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

import procvm
from procvm import AsyncVMManager, VMManager, errors, probes, protocol

PAGE = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")
DIRECTIVE = re.compile(r"^\.\. (?:auto|py:)(\w+):: (\S+)\n((?:   :\S.*\n)*)", re.MULTILINE)


def _documented() -> dict[str, set[str]]:
    """Return the dotted names that the page documents, and the members of each."""
    found: dict[str, set[str]] = {}
    for kind, name, options in DIRECTIVE.findall(PAGE):
        listed = re.search(r":members:(.*)", options)
        members = set(re.findall(r"\w+", listed[1])) if listed else set()
        if kind == "module" and listed and not members:
            members = set(importlib.import_module(name).__all__)
        found[name] = members
    return found


DOCUMENTED = _documented()


def _is_documented(module: ModuleType, name: str) -> bool:
    there = f"{module.__name__}.{name}" in DOCUMENTED
    return there or name in DOCUMENTED.get(module.__name__, ())


@pytest.mark.parametrize("module", [probes, protocol, errors], ids=lambda m: m.__name__)
def test_every_name_of_a_public_module_is_in_the_reference(module: ModuleType) -> None:
    missing = [name for name in module.__all__ if not _is_documented(module, name)]
    assert missing == []


def test_every_name_of_the_shop_window_is_in_the_reference() -> None:
    missing = [
        name
        for name in procvm.__all__
        if not _is_documented(procvm, name)
        and not (name in errors.__all__ and _is_documented(errors, name))
        and f"procvm.{name}" not in DOCUMENTED
    ]
    assert missing == []


def test_every_verb_is_in_the_reference() -> None:
    verbs = {name for name in vars(VMManager) if not name.startswith("_")}
    inner = {"core", "signalling", "backend"}
    assert verbs - inner == DOCUMENTED["procvm.VMManager"] - inner
    more = {name for name in vars(AsyncVMManager) if not name.startswith("_")} - verbs
    assert more == DOCUMENTED["procvm.AsyncVMManager"]


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_every_name_in_the_reference_is_there(name: str) -> None:
    parts = name.split(".")
    value: object = importlib.import_module(parts[0])
    for number, part in enumerate(parts[1:], 2):
        if not hasattr(value, part):  # a module that is loaded when it is used
            importlib.import_module(".".join(parts[:number]))
        value = getattr(value, part)
    for member in DOCUMENTED[name]:
        assert getattr(value, member) is not None
