"""Suites of users, run in processes of their own, and programs that tell their end by a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

# A program that says its host's pid, and 'polite' when it was asked to end. While anything of
# its tree lives the other end of the pipe stays open: its end is an event, not a guess.
HELD = """
import os
from procvm import VMConfig
SCRIPT = '''exec 3>"$0"; trap 'echo polite >&3; exit 0' TERM; echo "$1" >&3
while :; do sleep 1000 & wait; done'''
def held(name="held", **options):
    return VMConfig(name, ["sh", "-c", SCRIPT, {fifo!r}, str(os.getpid())], **options)
"""

Run = Callable[..., pytest.RunResult]

# What is installed beside takes longer to import than a suite takes: test_plugin.py and
# test_page.py have it all, as a user has; the suites here have what they name.
NOTHING_ELSE = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"
NEEDED = {
    "-n": "xdist.plugin",
    "--max-worker": "xdist.plugin",
    "--timeout": "pytest_timeout",
    "--randomly": "pytest_randomly",
}


def plugins_for(args: tuple[str, ...]) -> list[str]:
    """Name the plugins that these arguments need, by the names of their entry points."""
    found = [plugin for word, plugin in NEEDED.items() if any(a.startswith(word) for a in args)]
    return [word for name in ("pytest_procvm", *dict.fromkeys(found)) for word in ("-p", name)]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv(NOTHING_ELSE, "1")

    def runs(*args: str) -> pytest.RunResult:
        plugins = plugins_for(args)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *plugins, *args)

    return runs


@pytest.fixture(params=[(), ("-n", "2")], ids=["alone", "xdist"])
def workers(request: pytest.FixtureRequest) -> tuple[str, ...]:
    chosen: tuple[str, ...] = request.param
    return chosen


@pytest.fixture
def fifo(pytester: pytest.Pytester) -> Path:
    path = pytester.path / "fifo"
    os.mkfifo(path)
    pytester.makepyfile(held_program=HELD.format(fifo=str(path)))
    return path


@pytest.fixture
def running(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    monkeypatch.setenv(NOTHING_ELSE, "1")

    @contextmanager
    def runs(*args: str) -> Iterator[subprocess.Popen[bytes]]:
        plugins = ("-p", "no:cacheprovider", *plugins_for(args))
        command = [sys.executable, "-m", "pytest", *plugins, *args]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=pytester.path
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    return runs
