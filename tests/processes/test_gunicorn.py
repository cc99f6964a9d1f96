"""gunicorn with two workers: it says READY=1 by itself, before its workers have loaded."""

from __future__ import annotations

import sys
from pathlib import Path

from living import AGAIN, BOTH, free_port, get, live_through, need

from procvm import VMConfig, probes

APP = """
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"worker %d" % os.getpid()]
"""


@BOTH
def test_gunicorn_with_two_workers_lives_through(containment: str, tmp_path: Path) -> None:
    need("gunicorn")
    (tmp_path / "served.py").write_text(APP)
    port = free_port()
    config = VMConfig(
        "gunicorn",
        [sys.executable, "-m", "gunicorn", "-w", "2", "-b", f"127.0.0.1:{port}", "served:app"],
        path=tmp_path,
        ready=probes.all_of(probes.notify(), probes.http(f"http://127.0.0.1:{port}/")),
        restart=AGAIN,
    )

    def serves() -> None:
        assert get(port).startswith(b"worker ")

    live_through(config, containment, serves=serves, processes=2, ports=(port,))
