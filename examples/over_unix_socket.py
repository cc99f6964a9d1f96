"""The envelope over a Unix socket: one line of JSON a request, one line an answer."""

from __future__ import annotations

import json
import socket
import socketserver
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from procvm import VMConfig, VMManager, protocol

LONGEST = 1_000_000


class Lines(socketserver.StreamRequestHandler):
    """Answers each line until the peer hangs up or sends one that is too long."""

    dispatcher: protocol.Dispatcher

    def handle(self) -> None:
        """Read, carry out, answer."""
        while (line := self.rfile.readline(LONGEST)).endswith(b"\n"):
            try:
                request = json.loads(line)
            except (ValueError, RecursionError):
                request = None
            answer = self.dispatcher.handle(request)
            self.wfile.write(json.dumps(answer).encode() + b"\n")


def talk(address: str) -> None:
    """Use the five verbs from the other end."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(20)  # a timeout belongs to the transport
        peer.connect(address)
        with peer.makefile("rwb") as lines:

            def send(request: dict[str, Any]) -> dict[str, Any]:
                lines.write(json.dumps(request).encode() + b"\n")
                lines.flush()
                answer: dict[str, Any] = json.loads(lines.readline())
                return answer

            client = protocol.Client(send)
            command = [sys.executable, "-c", "import time; time.sleep(60)"]
            web = client.allocate(VMConfig("web", command))
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
    with VMManager() as manager, tempfile.TemporaryDirectory() as folder:  # mode 0700: ours alone
        Lines.dispatcher = protocol.Dispatcher(manager, policy=policy)
        address = str(Path(folder) / "procvm.sock")
        with socketserver.UnixStreamServer(address, Lines) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            try:
                talk(address)
            finally:
                server.shutdown()
                thread.join()


if __name__ == "__main__":
    main()
