"""uvicorn with two workers: a parent that spawns them, and a tracker of resources besides."""

from __future__ import annotations

from pathlib import Path

import pytest
from living import BOTH, free_port, get, live_through
from page import config_on_page, on_path

APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
"""


@BOTH
def test_uvicorn_with_two_workers_lives_through(
    containment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(monkeypatch, "uvicorn")
    monkeypatch.chdir(tmp_path)
    Path("served.py").write_text(APP)
    port = free_port()

    def serves() -> None:
        assert get(port) == b"hello"

    config = config_on_page("uvicorn", port)
    live_through(config, containment, serves=serves, processes=3, ports=(port,))
