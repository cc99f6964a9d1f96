"""What is known from a moment ago is not believed: what has changed is told, or used."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from procvm import (
    NotExecutableError,
    ProgramNotFoundError,
    StartError,
    SubprocessBackend,
    VMConfig,
    VMManager,
    WorkingDirectoryError,
)


@pytest.fixture(params=["tree", "group"])
def manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    with VMManager(SubprocessBackend(request.param)) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with a binary of one's own in it."""
    (tmp_path / "home" / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("sleep") or "", tmp_path / "home" / "bin" / "napper")
    return tmp_path / "home"


def config_of(home: Path, command: str = "napper 1000") -> VMConfig:
    return VMConfig("vm", command, path=str(home), env={"PATH": f"{home}/none:{home}/bin"})


def overwrite(program: Path, content: str) -> None:
    program.unlink()  # one that runs may not be written to
    program.write_text(content)
    program.chmod(0o755)


CHANGES: dict[str, tuple[Callable[[Path], object], type[StartError]]] = {
    "gone": (lambda home: (home / "bin" / "napper").unlink(), ProgramNotFoundError),
    "not executable": (lambda home: (home / "bin" / "napper").chmod(0o644), NotExecutableError),
    "a text": (lambda home: overwrite(home / "bin" / "napper", "sleep 1"), NotExecutableError),
    "without interpreter": (
        lambda home: overwrite(home / "bin" / "napper", "#!/not/there\n"), ProgramNotFoundError,
    ),
    "moved": (lambda home: home.rename(home.parent / "away"), WorkingDirectoryError),
}  # fmt: skip


@pytest.mark.parametrize("command", ["napper 1000", "bin/napper 1000"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_binary_that_changed_since_is_told(
    manager: VMManager, home: Path, change: str, command: str
) -> None:
    act, kind = CHANGES[change]
    manager.remove(manager.allocate(config_of(home, command)))
    act(home)
    with pytest.raises(kind):
        manager.allocate(config_of(home, command))
    assert manager.list() == []


def test_a_reset_tells_it_as_well(manager: VMManager, home: Path) -> None:
    manager.allocate(config_of(home))
    (home / "bin" / "napper").unlink()
    with pytest.raises(ProgramNotFoundError, match="no program 'napper' on the VM's own PATH"):
        manager.reset("vm")
    assert manager.get("vm").state == "failed"


def test_each_start_looks_for_itself(manager: VMManager, home: Path) -> None:
    first = manager.allocate(config_of(home))
    (home / "none").mkdir()
    newer = Path(shutil.copy(home / "bin" / "napper", home / "none" / "napper"))
    manager.remove(first)
    second = manager.allocate(config_of(home))  # the first on the PATH, from now on
    assert Path(f"/proc/{second.pid}/exe").readlink() == newer
    newer.unlink()
    again = manager.reset(second)
    assert Path(f"/proc/{again.pid}/exe").readlink() == home / "bin" / "napper"


def test_the_environment_is_the_host_s_of_that_moment(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo = ["sh", "-c", 'echo "<$PROCVM_WORD>"; exec sleep 1000']
    for number, word in enumerate(["one", "two", "ä\udcff", None, "three"]):
        if word is None:
            monkeypatch.delenv("PROCVM_WORD")
        else:
            monkeypatch.setenv("PROCVM_WORD", word)
        name = f"vm{number}"
        manager.allocate(
            VMConfig(name, echo, inherit_env=number % 2 == 0 or ["PROCVM_WORD", "PATH"])
        )
        line = str(next(manager.follow(name)))
        assert line == f"<{word or ''}>".replace("\udcff", "\ufffd")
