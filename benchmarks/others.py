"""What others use to own programs, where it is installed: the extra ``bench``."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from .bare import QUIET, SLEEP, Base, Contender

_PATIENCE = 30.0


class Mirakuru(Base):
    name = "mirakuru"
    every = 10
    sees = False

    def start(self) -> int:
        from mirakuru import SimpleExecutor

        self.executor: Any = SimpleExecutor(SLEEP, stdin=None, stdout=None, stderr=None)
        self.executor.start()
        return int(self.executor.process.pid)

    def stop(self) -> None:
        self.executor.stop()


class XProcess(Base):
    name = "pytest-xprocess"
    every = 10
    sees = False

    def __enter__(self) -> Self:
        from types import SimpleNamespace

        import py
        from xprocess import ProcessStarter, XProcess

        class Starter(ProcessStarter):  # type: ignore[misc] # untyped
            pattern = "ready"
            args = ("sh", "-c", "echo ready; exec sleep 1000")

        self.folder = tempfile.TemporaryDirectory()
        self.starter = Starter
        root = py.path.local(self.folder.name)
        quiet = SimpleNamespace(debug=lambda *_: None)
        self.process = XProcess(SimpleNamespace(), root, quiet)
        return self

    def __exit__(self, *_: object) -> None:
        self.process._force_clean_up()
        for resource in self.process.resources:
            resource.release()
        self.process.resources.clear()
        self.folder.cleanup()

    def start(self) -> int:
        return int(self.process.ensure("vm", self.starter)[0])

    def stop(self) -> None:
        self.process.getinfo("vm").terminate()


class _Daemon(Base):
    """One that runs beside us and is asked over a socket."""

    every = 5
    sees = False

    def _run(self, folder: Path) -> list[str]:
        raise NotImplementedError

    def _is_up(self) -> bool:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.folder = tempfile.TemporaryDirectory()
        self.daemon = subprocess.Popen(self._run(Path(self.folder.name)), **QUIET)
        deadline = time.monotonic() + _PATIENCE
        try:
            while not self._is_up():
                if time.monotonic() > deadline or self.daemon.poll() is not None:
                    raise RuntimeError(f"{self.name} does not come up")
                time.sleep(0.05)
        except BaseException:
            self.__exit__()
            raise
        return self

    def settle(self) -> None:
        import psutil

        daemon = psutil.Process(self.daemon.pid)
        while [child.name() for child in daemon.children()] != SLEEP[:1]:
            time.sleep(0.001)  # a signal between its fork and its exec is lost

    def __exit__(self, *_: object) -> None:
        self.daemon.terminate()
        self.daemon.wait()
        self.folder.cleanup()


class Supervisor(_Daemon):
    name = "supervisor"

    def _run(self, folder: Path) -> list[str]:
        import xmlrpc.client

        from supervisor.xmlrpc import SupervisorTransport

        path = f"unix://{folder}/s"
        (folder / "c").write_text(
            f"[unix_http_server]\nfile={folder}/s\n[supervisord]\nnodaemon=true\n"
            f"logfile={folder}/l\npidfile={folder}/p\nchildlogdir={folder}\n"
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory="
            "supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[program:vm]\ncommand={' '.join(SLEEP)}\nautostart=false\nautorestart=false\n"
            "startsecs=0\n"
        )
        self.transport = SupervisorTransport(None, None, path)
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", self.transport)
        self.server: Any = proxy.supervisor
        return [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "supervisor.supervisord",
            "-c",
            f"{folder}/c",
        ]

    def _is_up(self) -> bool:
        try:
            return bool(self.server.getState()["statename"] == "RUNNING")
        except OSError:
            self.transport.close()
            self.transport.connection = None
            return False

    def __exit__(self, *_: object) -> None:
        self.transport.close()
        super().__exit__()

    def start(self) -> int:
        self.server.startProcess("vm")
        return 0

    def stop(self) -> None:
        self.server.stopProcess("vm")


class Circus(_Daemon):
    name = "circus"

    def _run(self, folder: Path) -> list[str]:
        from circus.client import CircusClient

        (folder / "c").write_text(
            f"[circus]\nendpoint=ipc://{folder}/e\npubsub_endpoint=ipc://{folder}/p\n"
            f"statsd=false\n[watcher:vm]\ncmd={SLEEP[0]}\nargs={SLEEP[1]}\nautostart=false\n"
        )
        self.client: Any = CircusClient(endpoint=f"ipc://{folder}/e", timeout=5.0)
        return [sys.executable, "-W", "ignore", "-m", "circus.circusd", f"{folder}/c"]

    def _is_up(self) -> bool:
        from circus.exc import CallError

        try:
            return bool(self.client.send_message("status")["status"] == "ok")
        except CallError:
            return False

    def __exit__(self, *_: object) -> None:
        self.client.stop()
        super().__exit__()

    def start(self) -> int:
        self.client.send_message("start", name="vm", waiting=True)
        return 0

    def stop(self) -> None:
        self.client.send_message("stop", name="vm", waiting=True)


_OTHERS: tuple[tuple[str, type[Base]], ...] = (
    ("mirakuru", Mirakuru), ("xprocess", XProcess), ("supervisor", Supervisor),
    ("circus", Circus),
)  # fmt: skip


def others() -> tuple[list[Contender], list[str]]:
    """Return those that are installed, and the names of those that are not."""
    there = [kind for module, kind in _OTHERS if importlib.util.find_spec(module)]
    absent = [kind.name for _, kind in _OTHERS if kind not in there]
    made: list[Any] = [kind() for kind in there]
    return made, absent
