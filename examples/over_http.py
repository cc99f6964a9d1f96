"""The envelope over HTTP: a request is the body of a POST, and so is its answer."""

from __future__ import annotations

import hmac
import json
import secrets
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from procvm import VMConfig, VMManager, protocol

DIGITS = 6  # of a Content-Length: a body is below a megabyte
TOKEN = secrets.token_urlsafe()  # every user of this machine can reach the loopback


class Door(BaseHTTPRequestHandler):
    """Answers a POST that knows the token, whatever its body is."""

    dispatcher: protocol.Dispatcher
    timeout = 10  # a peer that stalls does not hold the server

    def do_POST(self) -> None:
        """Read, carry out, answer."""
        size = self.headers.get("Content-Length", "")
        given = self.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {TOKEN}".encode()):
            self.send_error(403)
        elif not (size.isascii() and size.isdigit() and len(size) <= DIGITS):
            self.send_error(413)
        else:
            try:
                request = json.loads(self.rfile.read(int(size)))
            except (ValueError, RecursionError):
                request = None
            answer = json.dumps(self.dispatcher.handle(request)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has
        """Print nothing."""


def talk(port: int) -> None:
    """Use the five verbs from the other end."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def send(request: dict[str, Any]) -> dict[str, Any]:
        post = urllib.request.Request(
            f"http://127.0.0.1:{port}/",
            json.dumps(request).encode(),
            {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        )
        with opener.open(post, timeout=20) as response:  # a timeout belongs to the transport
            answer: dict[str, Any] = json.load(response)
            return answer

    client = protocol.Client(send)
    web = client.allocate(VMConfig("web", [sys.executable, "-c", "import time; time.sleep(60)"]))
    print(f"{web} runs: {client.list()[0].state}; health is {client.health().status}")
    client.reset(web)
    print(f"after the reset it is generation {client.list()[0].generation}")
    client.remove(web)
    print(f"left: {client.list()}")


def main() -> None:
    """Serve in a thread, talk, and take everything away."""
    policy = protocol.Policy(
        methods=("allocate_vm", "remove_vm", "reset_vm", "get_health", "get_vms"),
        programs=(sys.executable,),
    )
    with VMManager() as manager, HTTPServer(("127.0.0.1", 0), Door) as server:
        Door.dispatcher = protocol.Dispatcher(manager, policy=policy)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            talk(server.server_port)
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    main()
