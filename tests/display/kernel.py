"""A Jupyter kernel in which cells are run, as a notebook runs and interrupts them."""

from __future__ import annotations

import os
import queue
import random
import select
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

FIRST = '''
import json, sys, threading, time
from procvm import *

fifo = {fifo!r}

def tell(*_):
    with open(fifo, "w") as pipe:
        pipe.write("here")

def tell_when_blocked(*_):
    main = threading.main_thread().ident
    while not sys._current_frames()[main].f_code.co_qualname.endswith("Bell.wait"):
        time.sleep(0.001)
    tell()

def program(name, **options):
    script = 'echo up; echo here > "$0"; exec sleep "$1"'
    return VMConfig(name, ["sh", "-c", script, fifo, {seconds!r}], **options)

def quiet(name, **options):
    return VMConfig(name, ["sh", "-c", 'echo up; exec sleep "$0"', {seconds!r}], **options)

def stubborn(name):
    script = """if True:
        import signal, sys
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # so that none comes too early
        print("up", flush=True)
        while True:
            signal.sigwait([signal.SIGTERM])
            with open(sys.argv[1], "w") as pipe:
                pipe.write("asked to end")
    """
    command = [sys.executable, "-c", script, fifo, {seconds!r}]
    return VMConfig(name, command, ready=probes.log("up"))

manager, other = VMManager(), AsyncVMManager()
manager.remove(manager.allocate(quiet("warm")))  # from here on each has its keeper
await other.remove(await other.allocate(quiet("warm")))
'''


class Ran:
    """What came of a cell: each message's kind and content, until the kernel was idle."""

    def __init__(self, messages: list[tuple[str, dict[str, Any]]]) -> None:
        self.messages = messages

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the contents of one kind of message."""
        return [content for kind, content in self.messages if kind in kinds]

    @property
    def error(self) -> str:
        """The exception that ended the cell, by name; none: empty."""
        if any("KeyboardInterrupt" in one["text"] for one in self.of("stream")):
            return "KeyboardInterrupt"  # IPython says it like this where no traceback is to be had
        return "".join(one["ename"] for one in self.of("error"))

    @property
    def printed(self) -> str:
        """What was printed."""
        return "".join(one["text"] for one in self.of("stream") if one["name"] == "stdout")


class Kernel:
    """A kernel of this interpreter, with two managers and programs of a known sleep in it."""

    def __init__(self, place: Path) -> None:
        self.seconds = str(random.randrange(10**6, 10**7))
        self.fifo = place / "fifo"
        os.mkfifo(self.fifo)
        self._heard = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK)  # so that no writer waits
        # The interpreter's own kernel: no kernelspec of the user's is looked for.
        specs = KernelSpecManager(kernel_dirs=[])
        self._manager = KernelManager(
            kernel_spec_manager=specs, connection_file=str(place / "kernel.json")
        )
        self._manager.start_kernel(cwd=str(place))
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def __enter__(self) -> Self:
        first = self.run(FIRST.format(fifo=str(self.fifo), seconds=self.seconds))
        assert not first.error, first.messages
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel()
        self._manager.cleanup_resources()
        os.close(self._heard)

    def begin(self, code: str) -> str:
        """Send a cell and return when something in it has told that it is there."""
        while select.select([self._heard], [], [], 0)[0]:
            os.read(self._heard, 4096)
        cell = str(self._client.execute(code))
        assert select.select([self._heard], [], [], 60)[0], self.end(cell, 1.0).messages
        return cell

    def end(self, cell: str, patience: float = 60.0) -> Ran:
        """Return what came of a cell when it has ended."""
        deadline = time.monotonic() + patience
        messages: list[tuple[str, dict[str, Any]]] = []
        while True:
            try:
                left = max(0.01, deadline - time.monotonic())
                message = self._client.get_iopub_msg(timeout=left)
            except queue.Empty:
                raise AssertionError(f"the cell has not ended: {messages}") from None
            if message["parent_header"].get("msg_id") != cell:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return Ran(messages)
            messages.append((kind, content))

    def run(self, code: str) -> Ran:
        """Run a cell to its end."""
        return self.end(str(self._client.execute(code)))

    def interrupt(self) -> None:
        """Press the button: SIGINT for the kernel's whole process group."""
        self._manager.interrupt_kernel()

    def programs(self) -> set[int]:
        """Return the pids of this kernel's programs that are alive, by their sleep."""
        own = [one for one in psutil.process_iter(["cmdline", "status"]) if one.info["cmdline"]]
        return {
            one.pid
            for one in own
            if one.info["cmdline"][-1] == self.seconds and one.info["status"] != "zombie"
        }
