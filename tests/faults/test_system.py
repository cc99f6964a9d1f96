"""Faults of the system: no descriptors, processes, memory, disk; a poor kernel; reused numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from procvm import LogPolicy, NotExecutableError, SubprocessBackend, VMConfig, VMManager
from procvm.backends.subprocess import _keeper, _tree
from procvm.backends.subprocess._members import Member, send, start_of

LONG = ["sleep", "1000"]


def run(program: str, *words: str, unshared: bool = False) -> str:
    """Run a host of its own and return what it printed."""
    before = ["unshare", "-m"] if unshared else []
    done = subprocess.run(
        [*before, sys.executable, "-c", program, *words],
        timeout=100, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


NO_DESCRIPTOR = """
import os, resource, sys
from procvm import SubprocessBackend, VMConfig, VMManager
manager = VMManager(SubprocessBackend(sys.argv[1]))
deaf = "trap '' TERM; (setsid sleep 1000 &) ; sleep 0.1; echo deaf; while :; do sleep 1000; done"
for name in ("a", "b"):
    manager.allocate(VMConfig(name, ["sh", "-c", deaf]))
    next(iter(manager.follow(name)))
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
print(manager.remove("a", grace=0.1).state)
ids = [event.vm.vm_id for event in manager.history() if event.kind == "allocated"]
manager.close(grace=0.1)
for fd in taken:
    os.close(fd)
left = 0
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            text = file.read()
    except OSError:
        continue
    left += any(f"PROCVM_VM={vm_id}".encode() in text for vm_id in ids)
print("left", left)
"""


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_23_a_stop_needs_no_descriptor(containment: str) -> None:
    assert run(NO_DESCRIPTOR, containment).split() == ["removed", "left", "0"]


NO_PROCESS = """
import os, resource, sys
from procvm import ResourceError, SubprocessBackend, VMConfig, VMManager
first = VMManager(SubprocessBackend("group"))
first.allocate(VMConfig("a", ["sleep", "1000"], user=65534))
second = VMManager(SubprocessBackend("group"))
os.setgroups([]); os.setgid(65534); os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (2, 2))
for manager in (first, second):
    try:
        manager.allocate(VMConfig("b", ["sleep", "1000"]))
    except ResourceError as e:
        print(e.errno, len(manager.list()))
print(first.remove("a", grace=5.0).state)
first.close()
second.close()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="to become a user without processes one is root")
def test_24_without_processes_a_start_fails_and_a_stop_works() -> None:
    lines = run(NO_PROCESS).split("\n")
    assert lines[0] == "11 1"
    assert lines[1].endswith(" 0")
    assert "removed" in lines


NO_MEMORY = """
import resource, sys
from procvm import ProcVMError, SubprocessBackend, VMConfig, VMManager
manager = VMManager(SubprocessBackend(sys.argv[1]))
manager.allocate(VMConfig("first", ["sleep", "1000"]))
old = resource.getrlimit(resource.RLIMIT_AS)
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 65536, old[1]))
others, failed = [VMManager(SubprocessBackend(sys.argv[1])) for _ in range(3)], 0
for one in (manager, *others):
    try:
        one.allocate(VMConfig("x", ["true"]))
    except (ProcVMError, MemoryError):
        failed += 1
        assert "x" not in {vm.name for vm in one.list()}
resource.setrlimit(resource.RLIMIT_AS, old)
manager.reset("first")
for one in (manager, *others):
    one.close()
print("failed" if failed else "none failed")
"""


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_25_without_memory_no_vm_is_half_there(containment: str) -> None:
    assert "failed" in run(NO_MEMORY, containment)


FULL = """
import subprocess, sys, time
from procvm import LogPolicy, NotExecutableError, SubprocessBackend, VMConfig, VMManager
folder = sys.argv[2]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=True)
with VMManager(SubprocessBackend(sys.argv[1])) as manager:
    text = "yes full | head -c 300000; echo end; sleep 1000"
    log = LogPolicy(file=folder + "/log")
    manager.allocate(VMConfig("x", ["sh", "-c", text], log=log))
    for line in manager.follow("x"):
        if str(line) == "end":
            print("drained")
            break
    manager.remove("x")
    print([event.kind for event in manager.history() if event.kind == "warning"])
"""


def can_mount() -> bool:
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return os.geteuid() == 0 and done.returncode == 0


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_27_a_full_disk_is_told_and_stops_no_draining(containment: str, tmp_path: Path) -> None:
    if not can_mount():
        pytest.skip("a small file system of one's own takes a mount: root alone")
    told = run(FULL, containment, str(tmp_path), unshared=True)
    assert told.startswith("drained\n")
    assert "'warning'" in told


def test_27_a_log_directory_that_is_deleted_is_told(manager: VMManager, tmp_path: Path) -> None:
    folder, go = tmp_path / "logs", tmp_path / "go"
    folder.mkdir()
    os.mkfifo(go)
    shell = 'echo one; read x < "$0"; yes more | head -c 200000; echo end; sleep 1000'
    log = LogPolicy(file=folder / "log", rotate=65536)
    manager.allocate(VMConfig("x", ["sh", "-c", shell, str(go)], log=log))
    follow = manager.follow("x")
    assert str(next(follow)) == "one"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    go.write_text("\n")
    assert "end" in map(str, follow)
    assert "warning" in {event.kind for event in manager.history("x")}


@pytest.mark.parametrize("lack", ["subreaper", "tag", "pidfd", "keeper", "interpreter"])
def test_29_31_a_poor_system_is_told_and_serves(
    lack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    greeted = _tree.TreeHolder.greeted
    if lack in ("subreaper", "tag", "pidfd"):
        monkeypatch.setattr(
            _tree.TreeHolder, "greeted", lambda self, facts: greeted(self, {**facts, lack: False})
        )
    elif lack == "keeper":
        monkeypatch.setattr(_keeper, "_BOOT", "raise SystemExit")  # under either of its names
    else:
        monkeypatch.setattr(sys, "executable", "")
    with VMManager(SubprocessBackend()) as manager:
        vm = manager.allocate(VMConfig("x", LONG))
        report = manager.health()
        assert report
        assert report.degraded
        expected = "tree" if lack in ("tag", "pidfd") else "group"
        assert manager.backend.capabilities.containment == expected
        manager.remove(vm)


def test_30_a_pipe_with_a_name_is_no_program_and_hangs_nobody(
    manager: VMManager, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o755)
    for config in (VMConfig("x", [str(fifo)]), VMConfig("x", ["fifo"], path=fifo)):
        with pytest.raises(NotExecutableError, match="no regular file"):
            manager.allocate(config)


REUSED = """
import os, subprocess, sys
from procvm import SubprocessBackend, VMConfig, VMManager
with VMManager(SubprocessBackend("group")) as manager:
    vm = manager.allocate(VMConfig("x", ["sleep", "1000"]))
    os.kill(vm.pid, 9)
    try:
        os.waitpid(vm.pid, 0)
    except ChildProcessError:
        pass
    manager.wait(vm)
    for _ in range(50):
        with open("/proc/sys/kernel/ns_last_pid", "w") as file:
            file.write(str(vm.pid - 1))
        stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        if stranger.pid == vm.pid:
            break
        stranger.kill(); stranger.wait()
    print("reused" if stranger.pid == vm.pid else "not reused")
    manager.signal(vm, 9)
    manager.signal(vm, 9, to="tree")
    manager.reset(vm)
    manager.remove(vm)
    print("alive" if stranger.poll() is None else "killed")
    stranger.kill(); stranger.wait()
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or not os.access("/proc/sys/kernel/ns_last_pid", os.W_OK),
    reason="numbers are forced by root",
)
def test_32_a_stranger_with_a_reused_number_lives_on() -> None:
    told = run(REUSED).split("\n")
    if told[0] != "reused":
        pytest.skip("the number could not be forced")
    assert told[1] == "alive"


def test_70_a_process_is_known_by_its_start_and_never_by_its_number_alone() -> None:
    with subprocess.Popen(LONG) as stranger:
        began = start_of(stranger.pid)
        assert began is not None
        send(Member(stranger.pid, began - 1, "sleep"), signal.SIGKILL)
        assert stranger.poll() is None
        send(Member(stranger.pid, began, "sleep"), signal.SIGKILL)
        assert stranger.wait(30) == -signal.SIGKILL
