"""Limits, users and signals: as asked before the first instruction, in either containment."""

from __future__ import annotations

import os
import pwd
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from procvm import Limits, StartError, SubprocessBackend, VMConfig, VMManager
from procvm.backends.subprocess import _resolve
from procvm.backends.subprocess._processors import processors_for

ASK = """
import os, resource as r, json
print(json.dumps({name: r.getrlimit(getattr(r, "RLIMIT_" + name))
    for name in ("AS", "CPU", "NOFILE", "NPROC", "FSIZE", "CORE")}))
print(json.dumps([os.getpriority(os.PRIO_PROCESS, 0), sorted(os.sched_getaffinity(0))]))
"""


def said(manager: VMManager, config: VMConfig) -> list[str]:
    manager.allocate(config)
    manager.wait(config.name, timeout=30)
    return [str(line) for line in manager.logs(config.name)]


def test_every_limit_is_in_force_from_the_first_instruction(manager: VMManager) -> None:
    cpu = min(os.sched_getaffinity(0))
    nice = os.getpriority(os.PRIO_PROCESS, 0) + 3
    limits = Limits(
        memory=2**31, cpu_time=77, open_files=55, processes=5000, file_size=2**20, core=0,
        nice=nice, cpu_affinity=[cpu],
    )  # fmt: skip
    lines = said(manager, VMConfig("x", [sys.executable, "-c", ASK], limits=limits))
    wanted = {
        "AS": [2**31] * 2, "CPU": [77, 78], "NOFILE": [55] * 2, "NPROC": [5000] * 2,
        "FSIZE": [2**20] * 2, "CORE": [0] * 2,
    }  # fmt: skip
    import json

    assert json.loads(lines[0]) == wanted
    assert json.loads(lines[1]) == [nice, [cpu]]


BUSY = "while True: pass"
DEAF = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"


@pytest.mark.parametrize(
    ("limits", "words", "sent", "told"),
    [
        (Limits(cpu_time=1, core=0), [sys.executable, "-c", BUSY], signal.SIGXCPU,
         "was ended by SIGXCPU: its limit of cpu_time, 1 s, is reached"),
        (Limits(cpu_time=1, core=0), [sys.executable, "-c", DEAF + BUSY], signal.SIGKILL,
         "was ended by SIGKILL"),
        (Limits(file_size=10, core=0), ["sh", "-c", "exec head -c 99 /dev/zero > big"],
         signal.SIGXFSZ, "was ended by SIGXFSZ: its limit of file_size, 10 bytes, is reached"),
    ],
    ids=["processor time", "processor time, deaf", "size of a file"],
)  # fmt: skip
def test_an_end_by_a_limit_is_told_as_such(
    manager: VMManager, tmp_path: Path, limits: Limits, words: list[str], sent: int, told: str
) -> None:
    vm = manager.allocate(VMConfig("x", words, path=tmp_path, limits=limits))
    ended = manager.wait(vm, timeout=60)
    assert ended.exit is not None
    assert (ended.exit.signal, ended.reason) == (sent, f"the program {told}")


def test_without_limits_a_program_has_the_hosts_of_this_moment(manager: VMManager) -> None:
    said(manager, VMConfig("first", ["true"]))  # the keeper runs by now
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    umask = os.umask(0o027)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 7, hard))
    try:
        lines = said(manager, VMConfig("x", ["sh", "-c", "ulimit -n; umask"]))
    finally:
        os.umask(umask)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert lines == [str(soft - 7), "0027"]


def test_limits_add_nothing_to_the_environment_and_shorten_no_words(manager: VMManager) -> None:
    count = "env | grep -c ^LC_CTYPE; echo $(( $# ))"
    words = ["x" * 1000] * 400  # more than one word may hold, see execve(2)
    config = VMConfig(
        "x", ["/bin/sh", "-c", count, "sh", *words], limits=Limits(core=0),
        env={"LANG": "C", "PATH": os.environ["PATH"]}, inherit_env=False,
    )  # fmt: skip
    assert said(manager, config) == ["0", "400"]
    config = VMConfig(
        "y", ["sh", "-c", "echo $LC_CTYPE"], env={"LC_CTYPE": "C"}, limits=Limits(core=0)
    )
    assert said(manager, config) == ["C"]


HOST = """
import sys
if "before" in sys.argv:
    change()
import procvm

words = ["sh", "-c", "exec grep -E 'Sig(Ign|Blk)' /proc/self/status"]
with procvm.VMManager(procvm.SubprocessBackend(containment=sys.argv[1])) as manager:
    manager.allocate(procvm.VMConfig("first", ["true"]))
    change()
    manager.allocate(procvm.VMConfig("x", words))
    manager.wait("x", timeout=30)
    print(*manager.logs("x"), sep="\\n")
"""
IGNORES = "import signal\ndef change(): signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
BLOCKS = (
    "import signal\ndef change(): signal.pthread_sigmask(0, [signal.SIGUSR2, signal.SIGTERM])\n"
)


@pytest.mark.parametrize("containment", ["tree", "group"])
@pytest.mark.parametrize("when", ["before", "later"])
@pytest.mark.parametrize("change", [IGNORES, BLOCKS], ids=["ignored", "blocked"])
def test_what_its_host_ignores_or_blocks_a_program_hears(
    containment: str, when: str, change: str
) -> None:
    words = [sys.executable, "-c", change + HOST, containment, when]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    masks = {line.split()[0]: int(line.split()[1], 16) for line in done.stdout.splitlines()}
    assert masks.keys() == {"SigBlk:", "SigIgn:"}, done.stderr
    assert [mask & 0x7FFFFFFF for mask in masks.values()] == [0, 0]  # 32 and 33: the C library's


SHOW = "id -u; id -g; echo $HOME $USER $LOGNAME"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run programs as another")
def test_a_program_runs_as_its_user_with_home_and_name(manager: VMManager) -> None:
    entry = next(one for one in pwd.getpwall() if one.pw_uid not in (0, os.getuid()))
    lines = said(manager, VMConfig("x", ["sh", "-c", SHOW], user=entry.pw_name))
    assert lines[:2] == [str(entry.pw_uid), str(entry.pw_gid)]
    assert lines[2] == f"{entry.pw_dir} {entry.pw_name} {entry.pw_name}"
    kept = VMConfig("y", ["sh", "-c", SHOW], user=entry.pw_uid, env={"HOME": "/kept"})
    assert said(manager, kept)[2].startswith("/kept ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may run programs as anybody")
def test_without_the_right_a_user_is_refused_and_told(manager: VMManager) -> None:
    with pytest.raises(StartError) as caught:
        manager.allocate(VMConfig("x", ["true"], user=0))
    assert caught.value.step == "user"
    assert manager.list() == []


def test_a_user_that_is_not_there_is_told(manager: VMManager) -> None:
    with pytest.raises(StartError, match="no user") as caught:
        manager.allocate(VMConfig("x", ["true"], user="no-such-user-here"))
    assert caught.value.step == "user"


@pytest.mark.skipif(os.getuid() != 0, reason="others get what they may have")
def test_limits_that_cannot_be_had_are_named() -> None:
    limits = Limits(open_files=10**10, nice=1)
    with VMManager(SubprocessBackend("tree")) as manager:
        with pytest.raises(StartError) as caught:
            manager.allocate(VMConfig("x", "sleep 1000", limits=limits))
        assert caught.value.step == "limits"
        words = "not all of these can be had here: open_files=10000000000, nice=1"
        assert caught.value.why.endswith(words)
        assert manager.list() == []


CPUS = os.sched_getaffinity(0)
ABSENT = 65000


def bound(*cpus: int, name: str = "x") -> VMConfig:
    words = [sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"]
    return VMConfig(name, words, limits=Limits(cpu_affinity=cpus))


@pytest.mark.parametrize("some", [[min(CPUS)], []], ids=["with one that is", "alone"])
def test_a_processor_that_is_not_there_is_refused_and_named(
    manager: VMManager, some: list[int]
) -> None:
    with pytest.raises(StartError) as caught:
        manager.allocate(bound(ABSENT, *some))
    error = caught.value
    assert (error.step, error.name) == ("limits", "x")
    assert f"the processors [{ABSENT}] cannot be had here" in error.why
    assert str(sorted(processors_for([ABSENT]) or ())) in error.why
    assert manager.list() == []
    assert os.sched_getaffinity(0) == CPUS  # the look has changed nothing


@pytest.mark.skipif(len(CPUS) < 2, reason="it takes two processors")
def test_a_program_may_have_more_processors_than_its_host_runs_on(manager: VMManager) -> None:
    one, another, *_ = sorted(CPUS)
    os.sched_setaffinity(os.getpid(), [one])
    try:
        assert said(manager, bound(another)) == [f"[{another}]"]
        with pytest.raises(StartError, match=rf"\[{ABSENT}\] cannot.*{another}"):
            manager.allocate(bound(ABSENT, name="y"))
    finally:
        os.sched_setaffinity(os.getpid(), CPUS)


def test_a_processor_that_goes_is_told_at_the_next_start(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = min(CPUS)
    vm = manager.allocate(bound(cpu))
    monkeypatch.setattr(_resolve, "processors_for", lambda wanted: frozenset([ABSENT]))
    with pytest.raises(StartError, match=rf"\[{cpu}\] cannot be had here"):
        manager.reset(vm)


def test_where_it_cannot_be_known_the_start_itself_tells(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(pid: int, cpus: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuses)
    assert processors_for([ABSENT]) is None
    assert said(manager, bound(min(CPUS))) == [f"[{min(CPUS)}]"]


def test_a_system_that_binds_nothing_to_a_processor_says_so(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_setaffinity")
    with pytest.raises(StartError, match="binds no program") as caught:
        manager.allocate(bound(0))
    assert caught.value.step == "limits"
