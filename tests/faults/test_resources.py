"""The system refuses: no process, no memory, no disk, no pidfd, no interpreter."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

CONTAINMENTS = ["tree", "group"]
COMMON = """
import os, resource, signal, sys, threading
from procvm import *
def manager_of():
    return VMManager(SubprocessBackend(sys.argv[1] if sys.argv[1:] and sys.argv[1] else None))
LONG = ["sleep", "1000"]
"""


def run(program: str, *words: str, shell: tuple[str, ...] = ()) -> str:
    done = subprocess.run(
        [*shell, sys.executable, "-W", "ignore", "-c", COMMON + program, *words],
        timeout=100, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("containment", CONTAINMENTS)
@pytest.mark.skipif(os.getuid() != 0, reason="needs a user without processes")
def test_24_at_the_limit_of_processes_a_start_fails_and_a_removal_works(containment: str) -> None:
    program = """
os.setgroups([]); os.setgid(54321); os.setuid(int(sys.argv[2]))  # a user without any other process
manager = manager_of()
most = 3 + os.access(sys.executable, os.X_OK)  # this thread, the loop's, one VM; keeper or guard
resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
first = manager.allocate(VMConfig("first", LONG))
try:
    manager.allocate(VMConfig("x", LONG))
except ResourceError as e:
    assert e.errno == 11, e
else:
    sys.exit("it started")
assert [vm.name for vm in manager.list()] == ["first"]
assert manager.remove(first).state == "removed"
manager.close()
"""
    run(program, containment, str(50_000 + os.getpid() % 9_999))


@pytest.mark.parametrize("containment", CONTAINMENTS)
def test_25_without_address_space_there_is_a_vm_or_an_error(containment: str) -> None:
    program = """
def used():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
manager = manager_of()
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
for spare in range(0, 24, 2):
    resource.setrlimit(resource.RLIMIT_AS, (used() + (spare << 18), hard))
    try:
        manager.allocate(VMConfig("x", LONG))
    except (ProcVMError, MemoryError, RuntimeError, OSError):
        failed = True
    else:
        failed = False
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    assert [vm.name for vm in manager.list()] == ([] if failed else ["x"]), (spare, failed)
    if not failed:
        manager.remove("x")
assert manager.allocate(VMConfig("y", LONG)).state == "running"
manager.close()
"""
    run(program, containment)


def test_26_what_memory_cannot_hold_is_a_failed_start() -> None:
    program = """
manager = manager_of()
first = manager.allocate(VMConfig("first", LONG))
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    manager.allocate(VMConfig("x", LONG, env={"A": "x" * 90_000}))  # too long for a message
except ResourceError as e:
    assert e.errno == 27, e
else:
    sys.exit("it started")
assert manager.get(first).pid == first.pid
assert manager.allocate(VMConfig("y", LONG)).state == "running"
assert manager.get(first).generation == 1
manager.close()
other = manager_of()
try:
    other.allocate(VMConfig("x", LONG))  # not even a keeper
except ResourceError as e:
    assert e.errno == 27, e
other.close()
"""
    run(program, "tree")


@pytest.mark.parametrize("containment", CONTAINMENTS)
def test_27_a_full_disk_costs_the_file_alone(containment: str, tmp_path: Path) -> None:
    program = """
manager = manager_of()
manager.allocate(VMConfig("first", LONG))
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
words = "i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done; echo last"
log = LogPolicy(file=sys.argv[2], rotate=0)
vm = manager.allocate(VMConfig("x", ["sh", "-c", words], log=log))
assert manager.wait(vm, timeout=60).state == "exited"
assert str(manager.logs(vm)[-1]) == "last"
told = [event for event in manager.history(vm) if event.kind == "warning"]
assert told and sys.argv[2] in told[0].detail, told
assert len(told) < 5, len(told)
assert os.path.getsize(sys.argv[2]) <= 5000
assert manager.health()
manager.close()
"""
    run(program, containment, str(tmp_path / "log"))


REFUSALS = {
    # (number of the system call on x86-64, index and value of an argument, one that is not 0)
    "subreaper": (157, 0, 36, 1),
    "tag": (302, 1, 10, 2),
    "pidfd": (434, None, None, None),
}
SECCOMP = """
import ctypes, struct
def refuse(number, index, value, other, errno):
    ret = lambda what: struct.pack("HBBI", 0x06, 0, 0, what)
    jump = lambda k, true, false: struct.pack("HBBI", 0x15, true, false, k)
    load = lambda offset: struct.pack("HBBI", 0x20, 0, 0, offset)
    steps = [load(0)]
    if index is None:
        steps += [jump(number, 0, 1)]
    else:
        steps += [jump(number, 0, 5), load(16 + 8 * index), jump(value, 0, 3)]
        steps += [load(16 + 8 * other), jump(0, 1, 0)]
    steps += [ret(0x50000 | errno), ret(0x7FFF0000)]
    code = b"".join(steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.create_string_buffer(program, len(program)), 0, 0) == 0
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86-64")
@pytest.mark.parametrize("number", [1, 38])  # EPERM, ENOSYS
@pytest.mark.parametrize("refused", REFUSALS)
@pytest.mark.parametrize("containment", CONTAINMENTS)
def test_29_what_the_kernel_refuses_is_told_and_trees_go_all_the_same(
    containment: str, refused: str, number: int, tmp_path: Path
) -> None:
    program = f"""
refuse(*{REFUSALS[refused]!r}, {number})
os.mkfifo(sys.argv[2])
pipe = os.open(sys.argv[2], os.O_RDONLY | os.O_NONBLOCK)
tree = f"exec 9>{{sys.argv[2]}}; setsid sleep 1000 & sleep 1000 & echo up; sleep 1000"
with manager_of() as manager:
    vm = manager.allocate(VMConfig("x", ["sh", "-c", tree], stop=StopPolicy(grace=0.2)))
    next(iter(manager.follow(vm)))
    report = manager.health()
    assert report and report.degraded, report
    manager.remove(vm)
    assert os.read(pipe, 1) == b""
    ended = manager.wait(manager.allocate(VMConfig("y", ["sh", "-c", "exit 7"])))
    assert ended.exit.code == 7, ended
"""
    run(SECCOMP + program, containment, str(tmp_path / "held"))


@pytest.mark.parametrize("containment", CONTAINMENTS)
def test_30_a_program_whose_opening_hangs_is_none(containment: str, tmp_path: Path) -> None:
    program = """
os.mkfifo(sys.argv[2], 0o755)
with manager_of() as manager:
    for config in (VMConfig("x", [sys.argv[2]]), VMConfig("x", ["x"], path=sys.argv[2])):
        try:
            manager.allocate(config)
        except NotExecutableError as e:
            assert e.path == sys.argv[2], e
        else:
            sys.exit("it started")
"""
    run(program, containment, str(tmp_path / "fifo"))


@pytest.mark.parametrize("executable", ["", "/no/such/python", "/etc/passwd", "/bin/false"])
def test_31_without_an_interpreter_it_is_group_and_told(executable: str) -> None:
    program = """
sys.executable = sys.argv[2]
with manager_of() as manager:
    vm = manager.allocate(VMConfig("x", LONG))
    assert vm.state == "running"
    report = manager.health()
    assert report and report.degraded, report
    assert manager.backend.capabilities.containment == "group"
    manager.remove(vm)
"""
    run(program, "", executable)


@pytest.mark.parametrize("containment", CONTAINMENTS)
@pytest.mark.skipif(os.getuid() != 0, reason="needs a pid namespace of its own")
def test_32_a_stranger_with_a_used_number_lives(containment: str, tmp_path: Path) -> None:
    program = """
import subprocess, time
class Number:
    def __init__(self, number):
        with open("/proc/sys/kernel/ns_last_pid", "w") as file:
            file.write(str(number - 1))
def stranger_at(number):
    for _ in range(200):
        Number(number)
        one = subprocess.Popen(["sleep", "1000"])
        if one.pid == number:
            return one
        one.kill(); one.wait()
    sys.exit("the number could not be had")
with manager_of() as manager:
    words = "sleep 0.01 & echo $!; wait; echo gone; sleep 1000"
    vm = manager.allocate(VMConfig("x", ["sh", "-c", words]))
    lines = manager.follow(vm)
    number = int(str(next(lines)))
    next(lines)
    strangers = [stranger_at(number)]
    ended = manager.allocate(VMConfig("y", ["true"]))
    pid = ended.pid
    manager.wait(ended)
    for _ in range(1000):
        if pid is None or not os.path.exists(f"/proc/{pid}"):
            break
        time.sleep(0.01)
    if pid is not None:
        strangers.append(stranger_at(pid))
    manager.remove(ended)
    manager.reset(vm)
    manager.remove(vm)
    assert all(one.poll() is None for one in strangers)
for one in strangers:
    assert one.poll() is None
    one.kill(); one.wait()
"""
    shell = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    can = subprocess.run([*shell, "true"], capture_output=True, check=False)
    if can.returncode != 0:
        pytest.skip("no pid namespace is to be had")
    run(program, containment, shell=shell)
