"""What goes wrong with real processes, and what is told of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from procvm import (
    ExitedBeforeReadyError,
    ForkedManagerError,
    Limits,
    LogPolicy,
    NotExecutableError,
    ProgramNotFoundError,
    ReadyTimeoutError,
    ResourceError,
    StartError,
    StopPolicy,
    VMConfig,
    VMManager,
    VMState,
    WorkingDirectoryError,
    probes,
)  # fmt: skip

LONG = ["sleep", "1000"]


def script(folder: Path, text: str, mode: int = 0o755) -> str:
    file = folder / "program"
    file.write_text(text)
    file.chmod(mode)
    return str(file)


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def test_01_a_missing_path_is_a_missing_directory(manager: VMManager) -> None:
    with pytest.raises(WorkingDirectoryError) as caught:
        manager.allocate(VMConfig("x", LONG, path="/no/such/place"))
    assert caught.value.path == "/no/such/place"


def test_02_03_04_05_what_cannot_be_run_is_told_apart(manager: VMManager, tmp_path: Path) -> None:
    with pytest.raises(NotExecutableError):
        manager.allocate(VMConfig("x", [str(tmp_path)]))
    with pytest.raises(NotExecutableError):
        manager.allocate(VMConfig("x", [script(tmp_path, "#!/bin/sh\n", 0o644)]))
    with pytest.raises(NotExecutableError, match="#!"):
        manager.allocate(VMConfig("x", [script(tmp_path, "echo hello\n")]))
    with pytest.raises(NotExecutableError):
        manager.allocate(VMConfig("x", [script(tmp_path, "")]))
    with pytest.raises(ProgramNotFoundError, match="/no/interpreter"):
        manager.allocate(VMConfig("x", [script(tmp_path, "#!/no/interpreter -x\n")]))
    with pytest.raises(ProgramNotFoundError):
        manager.allocate(VMConfig("x", [script(tmp_path, "#!/bin/sh\r\necho\r\n")]))
    assert manager.list() == []


def test_14_too_many_arguments_are_a_matter_of_resources(manager: VMManager) -> None:
    with pytest.raises(ResourceError):
        manager.allocate(VMConfig("x", ["true", "x" * 200_000]))


def test_21_a_thousand_failed_starts_cost_no_descriptor(manager: VMManager) -> None:
    manager.allocate(VMConfig("first", LONG))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(500):
        with pytest.raises(StartError):
            manager.allocate(VMConfig("x", ["no-such-program-anywhere"]))
        with pytest.raises(StartError):
            manager.allocate(VMConfig("x", ["true", "x" * 200_000]))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert [vm.name for vm in manager.list()] == ["first"]


def test_28_a_log_that_cannot_be_one_is_refused_before_a_start(
    manager: VMManager, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    for place in (tmp_path, tmp_path / "missing" / "log", tmp_path / "fifo"):
        with pytest.raises(StartError) as caught:
            manager.allocate(VMConfig("x", LONG, log=LogPolicy(file=str(place))))
        assert caught.value.step == "log"


def test_33_an_end_before_ready_is_told_at_once(manager: VMManager) -> None:
    dying = VMConfig("x", ["sh", "-c", "echo oops >&2; exit 7"], ready=probes.log("never"))
    with pytest.raises(ExitedBeforeReadyError) as caught:
        manager.allocate(dying)
    assert caught.value.exit is not None
    assert caught.value.exit.code == 7
    assert [str(line) for line in caught.value.logs] == ["oops"]
    assert manager.list() == []


def test_not_ready_in_time_is_taken_away(manager: VMManager) -> None:
    with pytest.raises(ReadyTimeoutError):
        manager.allocate(VMConfig("x", LONG, ready=probes.file("/no/such", timeout=0.1)))
    assert manager.list() == []


def test_36_what_is_stopped_hears_its_end(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", LONG))
    manager.signal(vm, signal.SIGSTOP)
    gone = manager.remove(vm)
    assert gone.exit is not None
    assert gone.exit.signal == signal.SIGTERM


def test_38_a_status_taken_by_somebody_else_is_lost_and_no_zero(tmp_path: Path) -> None:
    program = """
import os, signal
from procvm import SubprocessBackend, VMConfig, VMManager
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with VMManager(SubprocessBackend("group")) as manager:
    vm = manager.wait(manager.allocate(VMConfig("x", ["sleep", "0.05"])))
    assert vm.state == "failed" and vm.exit.is_lost, vm
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(
    "shape",
    [
        "sleep 1000 & sleep 1000",
        "setsid sleep 1000 & echo $!; sleep 1000",
        "(setsid sleep 1000 & echo $!) ; sleep 1000",
        "trap '' TERM; sh -c 'trap \"\" TERM; sleep 1000' & sleep 1000; sleep 1000",
    ],
)
def test_39_nothing_found_of_a_tree_outlives_its_removal(manager: VMManager, shape: str) -> None:
    vm = manager.allocate(
        VMConfig("x", ["sh", "-c", f"{shape.replace('echo $!', ':')}"], stop=StopPolicy(grace=0.3))
    )
    marker = f"PROCVM_VM={vm.vm_id}".encode()
    manager.remove(vm)
    left = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker in (entry / "environ").read_bytes() and alive(int(entry.name)):
                    left.append(entry.name)
            except OSError:
                continue
    assert left == []


def test_42_what_a_program_leaves_is_taken_away_after_it(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", ["sh", "-c", "sleep 1000 & echo $!"]))
    ended = manager.wait(vm)
    assert ended.state is VMState.EXITED
    pid = int(str(manager.logs(vm)[0]))
    manager.remove(vm)
    assert not alive(pid)


def test_46_a_pipe_held_by_a_grandchild_delays_no_end(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", ["sh", "-c", "setsid sleep 1000 & echo last words"]))
    assert manager.wait(vm).state is VMState.EXITED
    assert [str(line) for line in manager.logs(vm)] == ["last words"]


def test_47_a_program_reads_nothing_and_owns_no_terminal(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", ["sh", "-c", "cat; ps -o tty= -p $$ || true"]))
    assert manager.wait(vm).state is VMState.EXITED


def test_54_a_forked_child_owns_nothing(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", LONG))
    pid = os.fork()
    if pid == 0:
        try:
            manager.list()
        except ForkedManagerError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert manager.get(vm).state is VMState.RUNNING
    assert manager.remove(vm).state is VMState.REMOVED


def test_59_a_global_manager_is_closed_at_the_end_of_the_interpreter() -> None:
    program = """
from procvm import SubprocessBackend, VMConfig, VMManager
manager = VMManager(SubprocessBackend("group"))
print(manager.allocate(VMConfig("x", ["sleep", "1000"])).pid)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True
    )
    assert not alive(int(done.stdout))


def test_limits_are_in_force_before_the_first_instruction(manager: VMManager) -> None:
    limits = Limits(open_files=64, core=0)
    vm = manager.allocate(VMConfig("x", ["sh", "-c", "ulimit -n; ulimit -c"], limits=limits))
    manager.wait(vm)
    assert [str(line) for line in manager.logs(vm)] == ["64", "0"]


def test_signals_are_at_their_defaults(manager: VMManager) -> None:
    vm = manager.allocate(VMConfig("x", ["grep", "SigIgn", "/proc/self/status"]))
    manager.wait(vm)
    ignored = int(str(manager.logs(vm)[0]).split()[1], 16)
    assert ignored & 0x7FFFFFFF == 0  # 32 and 33 are the C library's own


def test_a_file_keeps_what_was_written_and_turns(manager: VMManager, tmp_path: Path) -> None:
    log = tmp_path / "log"
    policy = LogPolicy(file=str(log), rotate=1000, backups=1)
    words = "for i in $(seq 100); do echo 0123456789; sleep 0.001; done"
    vm = manager.allocate(VMConfig("x", ["sh", "-c", words], log=policy))
    manager.wait(vm)
    manager.remove(vm)
    assert log.stat().st_mode & 0o777 == 0o600
    assert log.stat().st_size <= 1000
    assert (tmp_path / "log.1").exists()


def test_notify_is_heard(manager: VMManager) -> None:
    program = (
        "import os, socket, time\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "s.sendto(b'READY=1', '\\0' + os.environ['NOTIFY_SOCKET'][1:])\n"
        "time.sleep(1000)\n"
    )
    config = VMConfig("x", [sys.executable, "-c", program], ready=probes.notify())
    assert manager.allocate(config).state is VMState.RUNNING


def test_a_line_without_end_makes_it_ready(manager: VMManager) -> None:
    config = VMConfig("x", ["sh", "-c", "printf 'now rea'; printf dy; sleep 1000"])
    ready = VMConfig("x", config.command, ready=probes.log("ready$"))
    assert manager.allocate(ready).state is VMState.RUNNING


def test_commands_and_functions_are_asked(manager: VMManager) -> None:
    both = probes.all_of(probes.command(["true"]), probes.call(lambda: True))
    assert manager.allocate(VMConfig("x", LONG, ready=both)).state is VMState.RUNNING
    failing = probes.call(lambda: 1 / 0, timeout=0.2)
    with pytest.raises(ReadyTimeoutError, match="ZeroDivisionError"):
        manager.allocate(VMConfig("y", LONG, ready=failing))
    telling = probes.call(lambda: (False, "no leader yet"), timeout=0.2)
    with pytest.raises(ReadyTimeoutError, match="its probe said last: no leader yet"):
        manager.allocate(VMConfig("y", LONG, ready=telling))
    vm = manager.allocate(VMConfig("z", LONG, ready=probes.call(lambda: (True, "I lead"))))
    assert vm.reason == "ready: I lead"


def test_a_liveness_probe_turns_it_unhealthy(manager: VMManager, tmp_path: Path) -> None:
    file = tmp_path / "alive"
    file.touch()
    alive_probe = probes.file(str(file), interval=0.01, failures=2)
    vm = manager.allocate(VMConfig("x", LONG, alive=alive_probe))
    file.unlink()
    manager.wait(vm, lambda now: not now.healthy, timeout=60)
    assert manager.health().status == "bad"
    file.touch()
    manager.wait(vm, lambda now: now.healthy, timeout=60)
