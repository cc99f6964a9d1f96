"""What is no program: a FIFO, a device, a socket; nothing waits for them."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from procvm import (
    NotExecutableError,
    ProgramNotFoundError,
    SubprocessBackend,
    VMConfig,
    VMManager,
    VMState,
    probes,
)  # fmt: skip


@pytest.fixture(params=["tree", "group"])
def manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    with VMManager(SubprocessBackend(request.param)) as made:
        yield made


@pytest.mark.timeout(20)
def test_a_fifo_is_no_program_wherever_it_is_named(manager: VMManager, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o755)
    with pytest.raises(NotExecutableError, match="regular file"):
        manager.allocate(VMConfig("x", [str(fifo)]))
    with pytest.raises(NotExecutableError, match="regular file"):
        manager.allocate(VMConfig("x", ["fifo"], path=fifo))
    with pytest.raises(ProgramNotFoundError):
        manager.allocate(VMConfig("x", ["fifo"], env={"PATH": str(tmp_path)}))
    with pytest.raises(NotExecutableError):
        manager.allocate(VMConfig("x", ["/dev/null"]))
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
        with pytest.raises(NotExecutableError):
            manager.allocate(VMConfig("x", [str(tmp_path / "socket")]))
    assert manager.list() == []


@pytest.mark.timeout(20)
def test_a_fifo_is_a_file_to_a_probe(manager: VMManager, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    ready = probes.file(str(tmp_path / "fifo"))
    vm = manager.allocate(VMConfig("x", ["sleep", "1000"], ready=ready))
    assert vm.state is VMState.RUNNING


def test_lines_may_end_in_carriage_return_and_line_feed(manager: VMManager) -> None:
    text = (  # what ends a line comes in two parts, the second when the first was read
        "import fcntl, os, sys, termios, time\n"
        "os.write(1, b'one\\r\\ntwo\\r')\n"
        "while any(fcntl.ioctl(1, termios.FIONREAD, bytes(4))): time.sleep(0.001)\n"
        "os.write(1, b'\\nready\\r\\nlast\\r')\n"
        "time.sleep(1000)"
    )
    says = [sys.executable, "-I", "-S", "-c", text]
    vm = manager.allocate(VMConfig("x", says, ready=probes.log("^ready$")))
    assert [line.text for line in manager.logs(vm)] == ["one", "two", "ready", "last"]
