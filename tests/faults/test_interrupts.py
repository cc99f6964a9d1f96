"""Ctrl-C at random moments: what is alive is listed, and what is listed may be removed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from looking import until

PROGRAM = """
import os, random, signal, sys, threading, time
from procvm import SubprocessBackend, VMConfig, VMManager, VMState

def children(parent="self"):
    found = set()
    try:
        for task in os.listdir(f"/proc/{parent}/task"):
            with open(f"/proc/{parent}/task/{task}/children") as file:
                found |= set(file.read().split())
    except OSError:
        pass
    own = {int(pid) for pid in found if not says(pid, "_guard_program", "procvm-keeper")}
    kept = (children(pid) for pid in found if says(pid, "procvm-keeper"))
    return own.union(*kept)

def says(pid, *words):
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            text = file.read()
    except OSError:
        return False
    return any(word in text for word in words)

chance = random.Random(int(sys.argv[1]))
manager = VMManager(SubprocessBackend(sys.argv[2]))
for number in range(50):
    name = f"vm{number}"
    main = threading.get_ident()
    timer = threading.Timer(chance.uniform(0, 0.006), signal.pthread_kill, (main, signal.SIGINT))
    try:
        timer.start()
        vm = manager.allocate(VMConfig(name, ["sleep", "1000"]))
        manager.reset(vm)
        manager.remove(vm)
        timer.join()
    except KeyboardInterrupt:
        pass
    try:
        timer.cancel()
        timer.join()
    except KeyboardInterrupt:
        timer.join()

deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    listed = {vm.pid for vm in manager.list() if vm.pid}
    settled = all(vm.state in (VMState.RUNNING, VMState.FAILED) for vm in manager.list())
    if settled and children() == listed:
        break
else:
    sys.exit(f"alive {children()}, listed {manager.list()}")
manager.close()
sys.exit(f"left: {children()}" if children() else 0)
"""


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_56_an_interrupt_at_150_random_moments_loses_no_process(containment: str) -> None:
    for seed in range(3):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(seed), containment],
            timeout=110,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


OVERDUE = """
import signal, sys, threading, time
from procvm import VMConfig, VMManager
main = threading.main_thread().ident
def interrupt():
    while not sys._current_frames()[main].f_code.co_qualname.endswith("Bell.wait"):
        time.sleep(0.001)
    # Its handler runs in the main thread, but nothing ends what that thread blocks in.
    signal.raise_signal(signal.SIGINT)
with VMManager() as manager:
    vm = manager.allocate(VMConfig("idle", ["sleep", "1000"]))
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        manager.wait(vm, "removed", timeout=60)
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_56_an_interrupt_that_ended_no_system_call_is_heard_soon() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OVERDUE],
        timeout=40,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "interrupted\n", done.stderr


CLOSING = """
import signal, sys, threading
from procvm import SubprocessBackend, VMConfig, VMManager, probes

deaf = '''
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("deaf", flush=True)
signal.sigwait([signal.SIGTERM])
print("asked", flush=True)
signal.pause()
'''

def threads():
    return {thread for thread in threading.enumerate() if thread.name.startswith("procvm")}

manager = VMManager(SubprocessBackend(sys.argv[1]))
manager.subscribe(print)
vm = manager.allocate(
    VMConfig("deaf", [sys.executable, "-c", deaf], ready=probes.log("deaf"))
)

lines = manager.follow(vm)  # here: a closed manager is not followed

def interrupt():  # once it was asked to end, so its whole grace is left
    for line in lines:
        if str(line) == "asked":
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            return

teller = threading.Thread(target=interrupt)
teller.start()
try:
    manager.close(grace=float(sys.argv[2]))
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
print(manager, file=sys.stderr)
teller.join()
if sys.argv[3] == "again":
    manager.close(grace=0)
for thread in threads():  # it ends by itself, and so do its helpers
    thread.join()
print(manager, manager.history()[-1].kind, file=sys.stderr)
sys.stdout.flush()
"""


@pytest.mark.parametrize(("grace", "then"), [("1", "nothing"), ("1000", "again")])
@pytest.mark.parametrize("containment", ["tree", "group"])
def test_56_an_interrupted_close_goes_on_to_its_end(
    containment: str, grace: str, then: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLOSING, containment, grace, then],
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    waits = f"close was interrupted and goes on: 'deaf' may take up to {grace} s to end"
    told = [waits, "interrupted", "<VMManager closing, with 1 VM>", "<VMManager closed> removed"]
    assert done.stderr.splitlines() == told, done.stderr


STARTING = """
import signal, sys, threading
from procvm import StopPolicy, SubprocessBackend, VMConfig, VMManager, probes

deaf = '''
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("deaf", flush=True)
signal.pause()
'''

def interrupt(event):  # one is up, the other never will be
    if event.kind == "ready" and event.vm.name == "deaf":
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

with VMManager(SubprocessBackend(sys.argv[1])) as manager:
    manager.subscribe(interrupt)
    command = [sys.executable, "-c", deaf]
    stop = StopPolicy(grace=1000)
    configs = [
        VMConfig("deaf", command, ready=probes.log("deaf"), stop=stop),
        VMConfig("never", ["sleep", "1000"], ready=probes.file("/never")),
    ]
    try:
        manager.allocate_all(configs)
    except KeyboardInterrupt:
        manager.wait("never", "removed")
        print("interrupted;", *manager.list())
    manager.remove("deaf", grace=0)
    print(manager)
"""


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_56_an_interrupted_start_of_several_is_taken_back_behind_its_caller(
    containment: str,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTING, containment],
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stdout.splitlines()
    assert len(told) == 2, done.stderr
    assert told[0].startswith("interrupted; deaf is stopping as process "), told
    assert told[1] == "<VMManager with 0 VMs>"


AT_THE_END = """
import atexit
from procvm import StopPolicy, VMConfig, VMManager, probes
manager = VMManager()
deaf = "trap '' TERM; echo up; while :; do sleep 1; done"
stop = StopPolicy(grace=1000.0)
vm = manager.allocate(VMConfig("deaf", ["sh", "-c", deaf], ready=probes.log("up"), stop=stop))
print(vm.pid, flush=True)
atexit.register(print, "ending", flush=True)
"""


def test_57_an_interrupt_at_the_very_end_kills_what_is_left_and_is_told_in_a_line() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", AT_THE_END], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    ) as host:  # fmt: skip
        assert host.stdout is not None
        deaf = host.stdout.readline().strip()
        assert host.stdout.readline() == "ending\n"
        until(lambda: all(state_of(host.pid) == "S" for _ in range(20)))  # it waits
        host.send_signal(signal.SIGINT)
        told = host.communicate(timeout=60)[1].splitlines()
    assert told[-1] == "interrupted while closing: what still runs is killed"
    assert not [line for line in told if "Traceback" in line]
    until(lambda: not Path("/proc", deaf).exists())


def state_of(pid: int) -> str:
    time.sleep(0.001)
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
