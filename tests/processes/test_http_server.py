"""The standard library's HTTP server."""

from __future__ import annotations

from living import BOTH, free_port, get, live_through
from page import config_on_page


@BOTH
def test_the_http_server_lives_through(containment: str) -> None:
    port = free_port()

    def serves() -> None:
        assert b"Directory listing" in get(port)

    live_through(config_on_page("http.server", port), containment, serves=serves, ports=(port,))
