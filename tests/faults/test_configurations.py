"""Faults of a configuration: told before any process exists, by the field's name."""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from procvm import (
    ConfigError,
    DuplicateNameError,
    FakeBackend,
    NotExecutableError,
    ResourceError,
    StartError,
    VMConfig,
    VMManager,
    VMState,
    WorkingDirectoryError,
)  # fmt: skip
from procvm.config import config_from

LONG = ["sleep", "1000"]


def refused(**options: Any) -> ConfigError:
    given = {"name": "x", "command": LONG, **options}
    with pytest.raises(ConfigError) as direct:
        VMConfig(given.pop("name"), given.pop("command"), **given)
    return direct.value


def test_06_a_damaged_binary_starts_and_is_told_by_its_signal(
    manager: VMManager, tmp_path: Path
) -> None:
    whole = Path(shutil.which("sleep") or "/bin/sleep").read_bytes()
    damaged = tmp_path / "damaged"
    damaged.write_bytes(whole[:5000])
    damaged.chmod(0o755)
    manager.allocate(VMConfig("x", [str(damaged), "1000"]))
    ended = manager.wait("x", timeout=20)
    assert ended.state is VMState.FAILED
    assert ended.exit is not None
    assert ended.exit.signal == signal.SIGSEGV


@pytest.mark.parametrize("kind", ["loop", "component", "long name", "long path"])
def test_07_a_path_that_the_kernel_refuses_is_told_with_its_number(
    manager: VMManager, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("")
    path = {
        "loop": str(tmp_path / "loop"),
        "component": str(tmp_path / "file" / "program"),
        "long name": str(tmp_path / ("n" * 300)),
        "long path": "/" + "d/" * 3000,
    }[kind]
    with pytest.raises(StartError) as as_path:
        manager.allocate(VMConfig("x", LONG, path=path))
    with pytest.raises(StartError) as as_program:
        manager.allocate(VMConfig("x", [path]))
    for caught in (as_path.value, as_program.value):
        assert caught.errno
        assert len(str(caught)) < 1000
    assert manager.list() == []


def test_08_a_path_may_be_relative_and_never_empty(
    manager: VMManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refused(path="").field == "path"
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path)
    manager.allocate(VMConfig("x", ["sh", "-c", "pwd"], path="inner"))
    manager.wait("x", timeout=20)
    assert [str(line) for line in manager.logs("x")] == [str((tmp_path / "inner").resolve())]


@pytest.mark.parametrize("command", ["", "   ", [], [""], (), None, 7, b"sleep 1", {"a": 1}])
def test_09_a_command_without_a_program_is_refused(command: Any) -> None:
    assert refused(command=command).field == "command"


@pytest.mark.parametrize("command", ["sh -c 'never closed", "sleep 1 \\"])
def test_10_an_unbalanced_quote_is_refused_and_cut(command: str) -> None:
    assert refused(command=command).field == "command"
    assert len(str(refused(command="'" + "x" * 100_000))) < 1000


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("name", {"name": "a\0b"}),
        ("command", {"command": ["a\0b"]}),
        ("command", {"command": "sleep 1\0"}),
        ("path", {"path": "/tmp\0"}),
        ("env", {"env": {"A\0": "1"}}),
        ("env['A']", {"env": {"A": "1\0"}}),
    ],
)
def test_11_a_nul_is_refused_wherever_it_stands(field: str, options: dict[str, Any]) -> None:
    assert refused(**options).field == field


@pytest.mark.parametrize("env", [{"A": 1}, {"A": None}, {"A": b"1"}, {1: "a"}, ["A=1"], "A=1"])
def test_12_an_environment_is_text_and_never_made_text(env: Any) -> None:
    assert refused(env=env).field.startswith("env")
    with pytest.raises(ConfigError):
        config_from({"name": "x", "command": LONG, "env": env})


@pytest.mark.parametrize("key", ["", "=", "A=B"])
def test_13_a_name_in_the_environment_is_not_empty_and_has_no_equals_sign(key: str) -> None:
    assert refused(env={key: "1"}).field == "env"


@pytest.mark.parametrize("size", ["one", "all"])
def test_14_an_environment_that_is_too_long_is_told_without_its_values(
    manager: VMManager, size: str
) -> None:
    env = {"SECRET": "s3cr3t" * 40_000} if size == "one" else {
        f"V{i}": "s3cr3t" * 5000 for i in range(300)
    }  # fmt: skip
    with pytest.raises(ResourceError) as caught:
        manager.allocate(VMConfig("x", LONG, env=env))
    assert "s3cr3t" not in str(caught.value) + repr(caught.value)
    assert manager.list() == []


def test_15_a_lone_surrogate_is_refused_and_an_escaped_byte_passes(manager: VMManager) -> None:
    assert refused(command=["echo", "\ud800"]).field == "command"
    assert refused(env={"A": "\ud800"}).field == "env['A']"
    assert refused(name="\ud800").field == "name"
    manager.allocate(VMConfig("x", ["sh", "-c", 'printf %s "$1" | od -An -tx1', "sh", "\udcff"]))
    manager.wait("x", timeout=20)
    assert [str(line).strip() for line in manager.logs("x")] == ["ff"]


def test_16_a_directory_that_is_a_file_is_no_program_either(
    manager: VMManager, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    with pytest.raises(NotExecutableError) as as_program:
        manager.allocate(VMConfig("x", LONG, path=file))
    assert as_program.value.path == str(file)
    way = "path is the directory to run in, or the program"
    assert as_program.value.why.endswith(f"chmod +x, or name its interpreter; {way}")
    file.chmod(0o755)
    with pytest.raises(NotExecutableError, match=f"or empty; {way}"):
        manager.allocate(VMConfig("x", LONG, path=file))
    with pytest.raises(NotExecutableError, match=r"without a #! line, or empty \[tried"):
        manager.allocate(VMConfig("x", [str(file)]))
    with pytest.raises(WorkingDirectoryError) as missing:
        manager.allocate(VMConfig("x", ["no-such-program"], path=tmp_path / "missing"))
    assert missing.value.path == str(tmp_path / "missing")


def test_17_of_32_threads_with_one_name_one_wins(manager: VMManager) -> None:
    def allocate(_: int) -> object:
        try:
            return manager.allocate(VMConfig("same", LONG))
        except DuplicateNameError as e:
            return e

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(allocate, range(32)))
    assert sum(isinstance(answer, DuplicateNameError) for answer in answers) == 31
    assert len(manager.list()) == 1


def test_17_a_failed_start_gives_its_name_back(manager: VMManager) -> None:
    for _ in range(2):
        with pytest.raises(StartError):
            manager.allocate(VMConfig("same", ["no-such-program-anywhere"]))
    assert manager.allocate(VMConfig("same", LONG)).pid


@pytest.mark.parametrize("name", ["", "n" * 10**6, "a\nb", "a\x1bb", "e\u0301", "a" * 32, 7, None])
def test_18_a_name_is_short_printable_normal_and_no_identity(name: Any) -> None:
    assert refused(name=name).field == "name"


def test_18_a_name_never_becomes_a_path(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("../x; rm -rf $HOME", LONG))
    assert manager.remove(vm).name == "../x; rm -rf $HOME"


@pytest.mark.parametrize(
    "mapping", [None, 7, [], "x", {}, {"name": "x"}, {"command": "y"},
                {"name": "x", "command": "y", "evn": {}}, {"name": "x", "command": "y", 7: 8}],
)  # fmt: skip
def test_19_what_is_no_configuration_is_told_field_by_field(mapping: Any) -> None:
    with VMManager(FakeBackend()) as fake, pytest.raises(ConfigError) as caught:
        fake.allocate(mapping)
    assert caught.value.field
    if isinstance(mapping, dict) and "evn" in mapping:
        assert "evn" in str(caught.value)


def test_20_what_the_caller_changes_afterwards_changes_nothing(manager: VMManager) -> None:
    env, command = {"WORD": "first"}, ["sh", "-c", "echo $WORD; sleep 1000"]
    mapping = {"name": "x", "command": command, "env": env}
    manager.allocate(mapping)
    env["WORD"], command[2] = "second", "exit 9"
    mapping["env"] = {"WORD": "third"}
    follow = manager.follow("x")
    first = next(follow)
    manager.reset("x")
    lines = [first, next(follow)]
    assert {str(line) for line in lines} == {"first"}
    assert {line.generation for line in lines} == {1, 2}
    assert os.environ.get("WORD") is None
