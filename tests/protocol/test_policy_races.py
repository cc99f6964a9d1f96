"""What was checked is what runs: links and files swapped between the check and the start."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procvm import VM, HealthReport, SubprocessBackend, Usage, VMConfig, VMManager, probes
from procvm.protocol import Dispatcher, Policy

ALL = ("allocate_vm", "remove_vm", "reset_vm", "get_health", "get_vms")
SLEEP = os.path.realpath(shutil.which("sleep") or "/bin/sleep")


class _Swapping:
    """A manager before whose starts something happens to the files."""

    def __init__(self, manager: VMManager) -> None:
        self.manager = manager
        self.swap: Callable[[], None] = lambda: None

    def allocate(self, config: VMConfig, /) -> VM:
        self.swap()
        return self.manager.allocate(config)

    def remove(self, vm: str, /) -> VM:
        return self.manager.remove(vm)

    def reset(self, vm: str, /) -> VM:
        self.swap()
        return self.manager.reset(vm)

    def health(self) -> HealthReport:
        return self.manager.health()

    def usage(self, vm: VM | str) -> Usage:
        return self.manager.usage(vm)

    def list(self) -> list[VM]:
        return self.manager.list()


@pytest.fixture(params=["tree", "group"])
def manager(request: pytest.FixtureRequest) -> Iterator[_Swapping]:
    with VMManager(SubprocessBackend(request.param)) as made:
        yield _Swapping(made)


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """Return a program that leaves a mark where it ran."""
    script = tmp_path / "evil"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\nexec {SLEEP} 100\n")
    script.chmod(0o755)
    return script


def _handle(manager: _Swapping, *roots: Path) -> Callable[[Any], dict[str, Any]]:
    policy = Policy(methods=ALL, programs=[SLEEP], roots=[str(root) for root in roots])
    return Dispatcher(manager, dialect="extended", policy=policy).handle


def _ask(method: str, **args: Any) -> dict[str, Any]:
    return {"method": method, "args": args, "timestamp": time.time()}


def _allocate(command: list[str], path: Path, **more: Any) -> dict[str, Any]:
    config = {"name": "web", "command": command, "path": str(path), **more}
    return _ask("allocate_vm", config=config)


def _runs(manager: _Swapping) -> tuple[str, str]:
    """Return the program that runs, and where."""
    proc = Path(f"/proc/{manager.manager.get('web').pid}")
    return str((proc / "exe").readlink()), str((proc / "cwd").readlink())


def _links(link: Path, target: str | Path) -> None:
    new = link.with_name("new")
    new.symlink_to(target)
    new.replace(link)


@pytest.mark.parametrize("is_path", [False, True])
def test_a_link_swapped_after_the_check_runs_nothing_else(
    manager: _Swapping, tmp_path: Path, evil: Path, is_path: bool
) -> None:
    link = tmp_path / "sleep"
    _links(link, SLEEP)
    manager.swap = lambda: _links(link, evil)
    handle = _handle(manager, tmp_path, Path(SLEEP).parent)
    command, path = (["sleep", "100"], link) if is_path else ([str(link), "100"], tmp_path)
    assert handle(_allocate(command, path))["result"]["status"] == "success"
    assert _runs(manager)[0] == SLEEP
    assert handle(_ask("reset_vm", vm_id="web"))["result"]["status"] == "success"
    assert _runs(manager)[0] == SLEEP
    assert not (tmp_path / "ran").exists()


def test_a_program_in_the_place_of_the_directory_is_not_run(
    manager: _Swapping, tmp_path: Path, evil: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()

    def swap() -> None:
        work.rmdir()
        evil.rename(work)

    manager.swap = swap
    result = _handle(manager, tmp_path)(_allocate([SLEEP, "100"], work))["result"]
    assert result["error"]["code"] == "working-directory"
    assert not (tmp_path / "ran").exists()


def test_a_link_to_another_directory_moves_nothing(manager: _Swapping, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "real").mkdir(parents=True)
    outside.mkdir()
    _links(root / "link", root / "real")
    manager.swap = lambda: _links(root / "link", outside)
    handle = _handle(manager, root)
    for ask in (_allocate([SLEEP, "100"], root / "link"), _ask("reset_vm", vm_id="web")):
        assert handle(ask)["result"]["status"] == "success"
        assert _runs(manager)[1] == str(root / "real")


def test_a_reset_is_checked_anew(manager: _Swapping, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "work").mkdir(parents=True)
    outside.mkdir()
    handle = _handle(manager, root)
    assert handle(_allocate([SLEEP, "100"], root / "work"))["result"]["status"] == "success"
    (root / "work").rmdir()
    (root / "work").symlink_to(outside)
    error = handle(_ask("reset_vm", vm_id="web"))["result"]["error"]
    assert (error["code"], error["field"]) == ("policy", "args.config.path")
    assert manager.manager.get("web").generation == 1


def test_a_probes_program_is_the_one_that_was_checked(
    manager: _Swapping, tmp_path: Path, evil: Path
) -> None:
    link = tmp_path / "sleep"
    _links(link, SLEEP)
    manager.swap = lambda: _links(link, evil)
    ready = {"kind": "command", "argv": [str(link), "0"]}
    result = _handle(manager, tmp_path)(_allocate([SLEEP, "100"], tmp_path, ready=ready))["result"]
    assert result["status"] == "success"
    assert not (tmp_path / "ran").exists()


def test_a_probes_file_is_checked_where_it_is_looked_for(tmp_path: Path) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret"
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "link").symlink_to(secret)
    policy = Policy(methods=ALL, programs=[SLEEP], roots=[str(root)])

    def checked(path: str) -> VMConfig:
        probe = probes.file(path)
        return policy.check_config(VMConfig("web", [SLEEP], path=root / "deep", ready=probe))

    assert checked("x").ready == probes.file(str(root / "deep" / "x"))
    for path in ("link", "../../secret", str(secret)):
        with pytest.raises(Exception, match="lies outside"):
            checked(path)


def test_what_is_pinned_is_pinned_again_to_the_same(tmp_path: Path) -> None:
    policy = Policy(methods=ALL, programs=["sleep"], roots=[str(tmp_path)])
    ready = probes.any_of(probes.unix("a"), probes.command(["sleep", "0"]), probes.tcp(80))
    config = VMConfig("web", "sleep 5", path=tmp_path, ready=ready, restart="always")
    pinned = policy.check_config(config)
    assert (pinned.path, pinned.command[1:]) == (f"{tmp_path}/", ("5",))
    assert pinned.restart == config.restart
    assert policy.check_config(pinned) == pinned
