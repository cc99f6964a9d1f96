"""Two VMs that write to one log are told so: it may be meant, and it may be a slip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from procvm import FakeBackend, LogPolicy, SubprocessBackend, VMConfig, VMManager


@pytest.fixture(params=["tree", "group", "fake"])
def manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    made = FakeBackend() if request.param == "fake" else SubprocessBackend(request.param)
    with VMManager(made) as one:
        yield one


def _logging(name: str, file: Path | str | None) -> VMConfig:
    return VMConfig(name, ["sleep", "1000"], log=LogPolicy(file=file))


def _warnings(manager: VMManager, name: str) -> list[str]:
    return [event.detail for event in manager.history(name) if event.kind == "warning"]


def test_the_later_of_two_is_told_who_writes_there_too(
    manager: VMManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "link").symlink_to("logs")
    manager.allocate(_logging("web", tmp_path / "logs" / "web.log"))
    manager.allocate(_logging("other", "logs/other.log"))
    manager.allocate(_logging("web-2", "link/../logs/web.log"))
    manager.allocate(_logging("web-3", "link/web.log"))
    file = str(tmp_path.resolve() / "logs" / "web.log")
    words = "too: they are mixed, and each rotates it"
    assert _warnings(manager, "web-2") == [f"the log {file!r} is that of 'web' {words}"]
    assert _warnings(manager, "web-3") == [f"the log {file!r} is that of 'web', 'web-2' {words}"]
    assert _warnings(manager, "web") == _warnings(manager, "other") == []


def test_a_log_alone_is_told_nothing(manager: VMManager, tmp_path: Path) -> None:
    for name in ("a", "b"):
        manager.allocate(_logging(name, None))
    manager.allocate(_logging("web", tmp_path / "web.log"))
    manager.reset("web")
    manager.remove("web")
    manager.allocate(_logging("new", tmp_path / "web.log"))  # as the first is gone
    assert not [event for event in manager.history() if event.kind == "warning"]
