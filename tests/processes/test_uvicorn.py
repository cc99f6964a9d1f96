"""uvicorn with two workers: a parent that spawns them, and a tracker of resources besides."""

from __future__ import annotations

import sys
from pathlib import Path

from living import AGAIN, BOTH, free_port, get, live_through, need

from procvm import VMConfig, probes

APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
"""


@BOTH
def test_uvicorn_with_two_workers_lives_through(containment: str, tmp_path: Path) -> None:
    need("uvicorn")
    (tmp_path / "served.py").write_text(APP)
    port = free_port()
    config = VMConfig(
        "uvicorn",
        [sys.executable, "-m", "uvicorn", "served:app", "--workers", "2", "--lifespan", "off",
         "--port", str(port)],
        path=tmp_path,
        ready=probes.http(f"http://127.0.0.1:{port}/"),
        restart=AGAIN,
    )  # fmt: skip

    def serves() -> None:
        assert get(port) == b"hello"

    live_through(config, containment, serves=serves, processes=3, ports=(port,))
