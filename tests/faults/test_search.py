"""A name is searched along the PATH as a shell does, each time; most of it in one call."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from procvm import VMConfig
from procvm.backends.subprocess import _existing
from procvm.backends.subprocess._resolve import resolve
from procvm.errors import StartError

NAMES = ["tool", "to{o}l", "a b", "tööl", "-x", "t\\l", "[t]", "new\nline"]
KINDS = ["none", "program", "no program", "folder", "dangling", "link"]


def put(folder: Path, name: str, kind: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    if kind in ("program", "no program"):
        file.write_bytes(b"\x7fELF\0")
        file.chmod(0o755 if kind == "program" else 0o644)
    elif kind == "folder":
        file.mkdir()
    elif kind == "dangling":
        file.symlink_to(folder / "nowhere")
    elif kind == "link":
        file.symlink_to("/bin/sh")


def told(folders: list[str], name: str) -> str:
    config = VMConfig("x", [name], env={"PATH": ":".join(folders)})
    try:
        return resolve(config, "/").executable
    except StartError as e:
        return f"{type(e).__name__}: {e}"


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    kinds=st.lists(st.sampled_from(KINDS), max_size=6), name=st.sampled_from(NAMES),
    strange=st.sampled_from(["", "/", "//", "/.", "{a,b}", " *"]), data=st.data(),
)  # fmt: skip
def test_in_one_call_is_found_what_is_found_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], name: str, strange: str,
    data: st.DataObject,
) -> None:  # fmt: skip
    root = tmp_path_factory.mktemp("path")
    folders = [f"{root}/{number}{strange}" for number in range(len(kinds))]
    for folder, kind in zip(folders, kinds, strict=True):
        put(Path(folder), name, kind)
    told(folders, name)  # from here on it is known how far the name is
    if data.draw(st.booleans()) and folders:  # and what is there may change
        one = Path(data.draw(st.sampled_from(folders))) / name
        if one.is_dir() and not one.is_symlink():
            one.rmdir()
        else:
            one.unlink(missing_ok=True)
        put(one.parent, name, data.draw(st.sampled_from(KINDS)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_existing, "_glob", lambda _: [])
        one_by_one = told(folders, name)
    assert told(folders, name) == one_by_one


def recorded(patch: pytest.MonkeyPatch) -> list[bytes]:
    asked: list[bytes] = []
    glob: Callable[[bytes], list[str]] = _existing._glob

    def recording(pattern: bytes) -> list[str]:
        asked.append(pattern)
        return glob(pattern)

    patch.setattr(_existing, "_glob", recording)
    return asked


def test_a_directory_behind_what_is_found_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, kind in (("1", "none"), ("2", "program"), ("3", "program")):
        put(tmp_path / name, "tool", kind)
    folders = [str(tmp_path / name) for name in ("1", "2", "3")]
    asked = recorded(monkeypatch)
    assert told(folders, "tool") == told(folders, "tool") == f"{folders[1]}/tool"
    (pattern,) = asked
    assert pattern == f"{{{folders[0]}/tool,{folders[1]}/tool}}".encode()
    put(tmp_path / "1", "tool", "program")  # it is not remembered where a name was
    assert told(folders, "tool") == f"{folders[0]}/tool"


def test_what_was_found_is_not_remembered_for_ever(tmp_path: Path) -> None:
    put(tmp_path, "tool", "program")
    reaches = _existing.Reaches()
    for number in range(3000):
        files = (f"/{number}/tool", f"{tmp_path}/tool")
        assert reaches.worth_a_look(files) == files
        reaches.found(files[1], files)
        assert len(reaches._reaches) <= 1000
    assert reaches.worth_a_look(files) == (f"{tmp_path}/tool",)


def test_a_letter_with_a_bracket_in_its_bytes_is_no_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("shift-jis"))
    files = (f"{tmp_path}/ゼゾ/tool", f"{tmp_path}/tool")  # in Shift JIS "[" and "]" are in it
    asked = recorded(monkeypatch)
    assert _existing.existing(files) == files
    assert asked == []


def test_another_c_library_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Another:
        def __init__(self, _: None) -> None:
            self.glob = self.globfree = None

    monkeypatch.setattr(ctypes, "CDLL", Another)
    assert _existing._make()(b"{/bin/sh,/bin/sh}") == []
