"""The main job: a real server is started, seen to answer, reset and removed."""

from __future__ import annotations

import http.client
import socket
import sys

from procvm import VMConfig, VMManager, probes


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def answer(port: int) -> int:
    """Return the status with which the server answers a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


def main() -> None:
    """Start, check, reset and remove a web server."""
    port = free_port()
    server = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with VMManager() as manager:
        web = manager.allocate(VMConfig("web", server, ready=probes.tcp(port)))
        print(f"{web.name} is {web.state} as process {web.pid}, generation {web.generation}")
        print(f"it answers {answer(port)}; health is {manager.health().status}")
        web = manager.reset(web)
        print(f"after the reset it is process {web.pid}, generation {web.generation}")
        print(f"it answers {answer(port)}")
        gone = manager.remove(web)
        print(f"{gone.name} is {gone.state}: {gone.reason}; left: {manager.list()}")


if __name__ == "__main__":
    main()
