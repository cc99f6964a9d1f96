"""gunicorn with two workers."""

from __future__ import annotations

from pathlib import Path

import pytest
from living import BOTH, free_port, get, live_through
from page import config_on_page, on_path

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""


@BOTH
def test_gunicorn_with_two_workers_lives_through(
    containment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(monkeypatch, "gunicorn")
    monkeypatch.chdir(tmp_path)
    Path("served.py").write_text(APP)
    port = free_port()

    def serves() -> None:
        assert get(port) == b"hello"

    config = config_on_page("gunicorn", port)
    live_through(config, containment, serves=serves, processes=2, ports=(port,))
