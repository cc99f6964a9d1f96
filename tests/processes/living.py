"""What every real program is taken through, and how it is seen that nothing of it is left."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from dying import dies_with_its_host

from procvm import VM, RestartPolicy, SubprocessBackend, VMConfig, VMManager, VMState

AGAIN = RestartPolicy("on-failure", initial=0.05)
BOTH = pytest.mark.parametrize("containment", ["tree", "group"])
_PATIENCE = 60.0


def free_port() -> int:
    """Return a port that the system hands to nobody else for a while (it is in TIME_WAIT)."""
    with socket.socket() as server, socket.socket() as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        client.connect(server.getsockname())
        server.accept()[0].close()
        return int(server.getsockname()[1])


def get(port: int, path: str = "/") -> bytes:
    """Return what a GET answers, which must be a success."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read()
    finally:
        connection.close()


def is_held(port: int) -> bool:
    """Tell whether somebody listens on a port."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _words(pid: int | str) -> list[str]:
    """Return what /proc/PID/stat says after the name: state, parent, group, session."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["X", "", "", ""]


def is_alive(pid: int | str) -> bool:
    """Tell whether a process runs; a zombie does not."""
    return _words(pid)[0] not in ("Z", "X")


def tag_of(pid: int | str) -> str | None:
    """Return the soft RLIMIT_LOCKS of a living process."""
    try:
        limits = Path(f"/proc/{pid}/limits").read_text()
    except OSError:
        return None
    found = limits.partition("Max file locks")[2].split(None, 1)
    return found[0] if found else None


def members(vm: VM, pid: int | None, tag: str | None) -> set[int]:
    """Return who lives and carries a VM's marker, or its tag, or is in its main process's session.

    nginx and valkey write their titles over their environment, where the marker is.
    """
    found: set[int] = set()
    mark = f"PROCVM_VM={vm.vm_id}".encode()
    for one in (entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        try:
            is_marked = mark in Path(f"/proc/{one}/environ").read_bytes().split(b"\0")
        except OSError:
            is_marked = False
        is_tagged = tag is not None and tag_of(one) == tag
        if (is_marked or is_tagged or _words(one)[3] == str(pid)) and is_alive(one):
            found.add(int(one))
    return found


class Life:
    """One VM in the middle of its scenario: what it was seen to consist of."""

    def __init__(self, manager: VMManager, vm: VM) -> None:
        self.is_tree = manager.backend.capabilities.containment == "tree"
        self.vm, self.now = vm, set[int]()
        self.pid: int | None = None
        self.tag: str | None = None
        self.look(vm)

    def look(self, vm: VM) -> None:
        """Note who is there in this generation."""
        assert vm.state is VMState.RUNNING
        assert vm.pid is not None
        self.vm, self.pid = vm, vm.pid
        self.tag = tag_of(vm.pid) if self.is_tree else None
        below = {one.pid for one in psutil.Process(vm.pid).children(recursive=True)}
        self.now = members(vm, self.pid, self.tag) | {vm.pid, *filter(is_alive, below)}

    def nothing_is_left(self) -> None:
        """Assert that nobody of the generation last looked at is alive."""
        assert not [pid for pid in self.now if is_alive(pid)]
        assert members(self.vm, self.pid, self.tag) == set()


def live_through(
    config: VMConfig,
    containment: str,
    *,
    serves: Callable[[], None],
    processes: int = 1,
    ports: tuple[int, ...] = (),
) -> VMManager:
    """Start, kill from outside, come back, reset, remove, and start again under a host that dies.

    Returns the first, closed manager.

    Args:
        config: What to run; it is made to restart on failure.
        containment: Which backend.
        serves: Raises unless the program does its work.
        processes: How many processes it has at least, once it serves.
        ports: What it holds while it runs, and must not afterwards.
    """
    assert config.restart == AGAIN
    with VMManager(SubprocessBackend(containment)) as manager:  # type: ignore[arg-type] # a literal
        life = Life(manager, manager.allocate(config))
        serves()
        life.look(life.vm)
        assert len(life.now) >= processes
        assert manager.usage(life.vm).processes >= processes
        assert all(is_held(port) for port in ports)

        former = life.now
        os.kill(life.vm.pid or 0, signal.SIGKILL)
        again = manager.wait(
            life.vm,
            lambda vm: vm.generation == 2 and vm.state is VMState.RUNNING,
            timeout=_PATIENCE,
        )
        assert again.restarts == 1
        assert again.exit is not None
        assert again.exit.signal == signal.SIGKILL
        life.look(again)
        assert not former & life.now
        serves()
        life.look(again)

        former = life.now
        anew = manager.reset(again)
        assert (anew.vm_id, anew.generation, anew.restarts) == (life.vm.vm_id, 3, 0)
        life.look(anew)
        assert not former & life.now
        serves()
        life.look(anew)
        assert manager.health()

        assert manager.remove(anew).state is VMState.REMOVED
        life.nothing_is_left()
        assert not any(is_held(port) for port in ports)
    dies_with_its_host(config, containment, serves, processes)
    deadline = time.monotonic() + _PATIENCE  # a worker that was forked last is nobody we know
    while any(is_held(port) for port in ports):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return manager
