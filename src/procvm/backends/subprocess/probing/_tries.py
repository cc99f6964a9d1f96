"""One try of each probe that has to be asked; runs in a thread, raises nothing."""

from __future__ import annotations

import inspect
import os
import socket

from ....errors import shortened
from ....probes import Call, File, Http, Probe, Tcp, Unix
from ...base import Plan
from ._words import one_line

__all__ = ["Answer", "try_once"]

Answer = tuple[bool, str]


def try_once(probe: Probe, plan: Plan, seconds: float) -> Answer:
    """Ask ``probe`` once, for at most ``seconds``; a function takes as long as it takes."""
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
        if isinstance(probe, Call):
            told = probe.function()
            if inspect.iscoroutine(told):
                told.close()  # else Python warns that nobody awaited it
                return False, "the function returned a coroutine, which nothing awaits here"
            if isinstance(told, tuple) and tuple(map(type, told)) == (bool, str):
                return told[0], one_line(told[1])
            return bool(told), f"the function returned {shortened(told)}"
    except BaseException as e:  # noqa: BLE001 - whatever went wrong, sys.exit too, is the answer
        return False, _said(e)
    return False, f"{probe.kind} cannot be asked"


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - a hostile __str__
        return type(error).__name__


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
    from http.client import HTTPException  # noqa: PLC0415 - for those who probe by it

    from ._http import status_of  # noqa: PLC0415 - the same

    try:
        target, status = status_of(probe.url, seconds)
    except (OSError, HTTPException) as e:
        return False, f"GET {probe.url}: {_said(e)}"
    return status in probe.status, f"GET {target} answered {status}"
