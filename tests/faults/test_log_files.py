"""Log files that somebody else renames, cuts, replaces or deletes while they are written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from procvm import VM, LogPolicy, SubprocessBackend, VMConfig, VMManager
from procvm.backends.subprocess import _logfile

# Writes one more line for each file that the test makes, when it has seen it.
STEPS = (
    'n=0; echo 0; while :; do n=$((n+1)); until [ -e "$1/$n" ]; do sleep 0.01; done; echo $n; done'
)


@pytest.fixture(params=["tree", "group"])
def manager(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[VMManager]:
    monkeypatch.setattr(_logfile, "_LOOK_EVERY", 0.0)  # what it writes sooner is the old file's
    with VMManager(SubprocessBackend(request.param)) as made:
        yield made


class Writer:
    """A program that writes when it is told to."""

    def __init__(self, manager: VMManager, folder: Path, policy: LogPolicy) -> None:
        self.manager, self.folder = manager, folder
        (folder / "steps").mkdir()
        command = ["sh", "-c", STEPS, "sh", str(folder / "steps")]
        self.vm: VM = manager.allocate(VMConfig("x", command, log=policy))
        self.follow = manager.follow(self.vm)
        assert str(next(self.follow)) == "0"
        self.number = 0

    def write(self) -> None:
        """Return when one more line has been drained."""
        self.number += 1
        (self.folder / "steps" / str(self.number)).touch()
        assert str(next(self.follow)) == str(self.number)

    @property
    def warnings(self) -> list[str]:
        return [e.detail for e in self.manager.history(self.vm) if e.kind == "warning"]


def test_27_a_log_that_was_deleted_is_made_anew_and_told_once(
    manager: VMManager, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    writer = Writer(manager, tmp_path, LogPolicy(file=log))
    for number in ("1", "2"):
        log.unlink()
        writer.write()
        assert log.read_text() == f"{number}\n"
    assert writer.warnings == [f"the log {str(log)!r} was deleted meanwhile; it is made anew"]


def test_27_a_directory_that_comes_back_has_a_log_again(
    manager: VMManager, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    writer = Writer(manager, tmp_path, LogPolicy(file=folder / "log"))
    shutil.rmtree(folder)
    writer.write()
    writer.write()
    assert len(writer.warnings) == 1
    assert "cannot be written: No such file or directory" in writer.warnings[0]
    folder.mkdir()
    writer.write()
    assert (folder / "log").read_text() == "3\n"
    assert "made anew" in writer.warnings[1]


@pytest.mark.parametrize("create", ["create", "nocreate"])
def test_a_log_that_was_renamed_is_left_and_a_new_one_written(
    manager: VMManager, tmp_path: Path, create: str
) -> None:
    """As logrotate(8) does; nothing is lost, so nothing is told."""
    log = tmp_path / "log"
    writer = Writer(manager, tmp_path, LogPolicy(file=log))
    log.rename(tmp_path / "log-today")
    if create == "create":
        log.touch()
    writer.write()
    assert log.read_text() == "1\n"
    assert (tmp_path / "log-today").read_text() == "0\n"
    assert writer.warnings == []


def test_a_log_that_was_cut_grows_from_its_start(manager: VMManager, tmp_path: Path) -> None:
    log = tmp_path / "log"
    writer = Writer(manager, tmp_path, LogPolicy(file=log, rotate=5))
    log.write_bytes(b"")
    for _ in range(2):
        writer.write()
    assert log.read_text() == "1\n2\n"
    assert not (tmp_path / "log.1").exists()
    assert writer.warnings == []


def test_a_log_that_was_deleted_is_not_turned(manager: VMManager, tmp_path: Path) -> None:
    log = tmp_path / "log"
    writer = Writer(manager, tmp_path, LogPolicy(file=log, rotate=3))
    log.unlink()
    writer.write()
    assert log.read_text() == "1\n"
    assert not (tmp_path / "log.1").exists()
    writer.write()
    assert log.read_text() == "2\n"
    assert (tmp_path / "log.1").read_text() == "1\n"


@pytest.mark.parametrize("becomes", ["fifo", "link"])
def test_a_log_that_became_something_else_is_told(
    manager: VMManager, tmp_path: Path, becomes: str
) -> None:
    log = tmp_path / "log"
    writer = Writer(manager, tmp_path, LogPolicy(file=log))
    log.unlink()
    if becomes == "fifo":
        os.mkfifo(log)
    else:
        log.symlink_to(tmp_path / "elsewhere")
    writer.write()
    assert len(writer.warnings) == 1
    assert "cannot be written" in writer.warnings[0]
    assert not (tmp_path / "elsewhere").exists()


def test_a_line_is_in_one_file(manager: VMManager, tmp_path: Path) -> None:
    """However the output was cut on its way, and also where the file was rotated."""
    log = tmp_path / "seq.log"
    policy = LogPolicy(file=log, rotate=20_000, backups=50)
    manager.wait(manager.allocate(VMConfig("seq", ["seq", "100000", "140000"], log=policy)))
    manager.remove("seq")
    files = sorted(tmp_path.iterdir(), key=lambda file: int(file.suffix[1:].replace("log", "0")))
    texts = [file.read_text() for file in reversed(files)]
    assert len(texts) > 3
    assert all(text.endswith("\n") for text in texts)
    assert "".join(texts).split() == [str(number) for number in range(100_000, 140_001)]
