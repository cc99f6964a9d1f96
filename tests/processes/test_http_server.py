"""The standard library's HTTP server."""

from __future__ import annotations

import sys

from living import AGAIN, BOTH, free_port, get, live_through

from procvm import VMConfig, probes


@BOTH
def test_the_http_server_lives_through(containment: str) -> None:
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    config = VMConfig("http", command, ready=probes.tcp(port), restart=AGAIN)

    def serves() -> None:
        assert b"Directory listing" in get(port)

    live_through(config, containment, serves=serves, ports=(port,))
