"""The envelope over a multiprocessing pipe: worker processes ask the host that owns the VMs."""

from __future__ import annotations

import json
import multiprocessing
import sys
from multiprocessing.connection import Connection
from typing import Any

from procvm import VMConfig, VMManager, protocol

LONGEST = 1_000_000


def talk(end: Connection) -> None:
    """Use the five verbs from the worker's side."""

    def send(request: dict[str, Any]) -> dict[str, Any]:
        end.send_bytes(json.dumps(request).encode())  # no pickle: it would run what it is told
        if not end.poll(20):  # a timeout belongs to the transport
            raise TimeoutError("the host does not answer")
        answer: dict[str, Any] = json.loads(end.recv_bytes())
        return answer

    client = protocol.Client(send)
    web = client.allocate(VMConfig("web", [sys.executable, "-c", "import time; time.sleep(60)"]))
    print(f"{web} runs: {client.list()[0].state}; health is {client.health().status}")
    client.reset(web)
    print(f"after the reset it is generation {client.list()[0].generation}")
    client.remove(web)
    print(f"left: {client.list()}")


def serve(end: Connection, dispatcher: protocol.Dispatcher) -> None:
    """Answer each message until the worker hangs up or sends one that is too long."""
    while True:
        try:
            message = end.recv_bytes(LONGEST)
        except (EOFError, OSError):
            return
        try:
            request = json.loads(message)
        except (ValueError, RecursionError):
            request = None
        end.send_bytes(json.dumps(dispatcher.handle(request)).encode())


def main() -> None:
    """Start a worker, answer it, and take everything away."""
    policy = protocol.Policy(
        methods=("allocate_vm", "remove_vm", "reset_vm", "get_health", "get_vms"),
        programs=(sys.executable,),
    )
    context = multiprocessing.get_context("spawn")  # a fork would copy the host's threads' locks
    ours, theirs = context.Pipe()
    worker = context.Process(target=talk, args=(theirs,))
    with VMManager() as manager, ours:
        worker.start()
        theirs.close()  # so that the worker's end is the last one: its death is seen
        serve(ours, protocol.Dispatcher(manager, policy=policy))
    worker.join(20)
    if worker.exitcode != 0:
        sys.exit(f"the worker ended with {worker.exitcode}")


if __name__ == "__main__":
    main()
