"""One try of each probe that has to be asked; runs in a thread, raises nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from ....probes import Call, Command, File, Http, Probe, Tcp, Unix
from ...base import Plan

__all__ = ["Answer", "try_once"]

Answer = tuple[bool, str]
_LOOK = 0.02


def try_once(
    probe: Probe, plan: Plan, env: Mapping[str, str], seconds: float, stopped: threading.Event
) -> Answer:
    """Ask ``probe`` once, for at most ``seconds``."""
    try:
        if isinstance(probe, Tcp):
            return _tcp(probe, seconds)
        if isinstance(probe, Unix):
            return _unix(_in(plan, probe.path), seconds)
        if isinstance(probe, File):
            path = _in(plan, probe.path)
            found = os.path.exists(path)  # noqa: PTH110 - text in
            return found, f"{path} {'is there' if found else 'is not there'}"
        if isinstance(probe, Http):
            return _http(probe, seconds)
        if isinstance(probe, Command):
            return _command(probe, plan, env, seconds, stopped)
        if isinstance(probe, Call):
            return _call(probe)
    except Exception as e:  # noqa: BLE001 - whatever went wrong is the answer
        return False, f"{type(e).__name__}: {e}"[:500]
    return False, f"{probe.kind} cannot be asked"


def _in(plan: Plan, path: str) -> str:
    return os.path.join(plan.directory, path)  # noqa: PTH118 - an absolute path stays itself


def _tcp(probe: Tcp, seconds: float) -> Answer:
    try:
        socket.create_connection((probe.host, probe.port), seconds).close()
    except OSError as e:
        return False, f"{probe.host}:{probe.port}: {e.strerror or e}"
    return True, f"{probe.host}:{probe.port} accepts connections"


def _unix(path: str, seconds: float) -> Answer:
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(seconds)
        try:
            one.connect(path)
        except OSError as e:
            return False, f"{path}: {e.strerror or e}"
    return True, f"{path} accepts connections"


def _http(probe: Http, seconds: float) -> Answer:
    import http.client  # noqa: PLC0415 - for those who probe by it

    url = urlsplit(probe.url)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=seconds)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    try:
        connection.request("GET", target, headers={"Connection": "close"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as e:
        return False, f"GET {target}: {type(e).__name__}: {e}"[:500]
    finally:
        connection.close()
    return status in probe.status, f"GET {target} answered {status}"


def _command(
    probe: Command, plan: Plan, env: Mapping[str, str], seconds: float, stopped: threading.Event
) -> Answer:
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's own command
            probe.argv, cwd=plan.directory, env=dict(env), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except OSError as e:
        return False, f"{probe.argv[0]}: {e.strerror}"
    end = time.monotonic() + seconds
    code = None
    try:
        while code is None and time.monotonic() < end and not stopped.is_set():
            try:
                code = process.wait(_LOOK)
            except subprocess.TimeoutExpired:
                continue
    finally:
        try:
            if code is None:  # not reaped yet, so the group's number is its own
                os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    if code is None:
        return False, f"{probe.argv[0]} did not end within {seconds:g} s"
    return code == 0, f"{probe.argv[0]} ended with {code}"


def _call(probe: Call) -> Answer:
    told = probe.function()
    return bool(told), f"the function returned {told!r}"[:500]
