"""What a readiness wait adds: from when a program was ready to when allocate returned.

Run as ``python -m benchmarks.readiness [starts]``; prints a Markdown table. The program looks at
the monotonic clock, which all processes share, just before what makes it ready takes effect; so
the call itself counts as well. The limit is 3 ms or 2 % of what the program itself took,
whichever is more.
"""

from __future__ import annotations

import socket
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from procvm import VMConfig, VMManager, probes

BOOTS = (0.0, 0.3, 1.0)  # seconds beside those that Python takes to start
FLOOR_MS, SHARE = 3.0, 0.02

PROGRAM = """
import socket, sys, time
kind, place, boot = sys.argv[1:]
time.sleep(float(boot))
if kind == "tcp":
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("127.0.0.1", int(place)))
elif kind == "unix":
    one = socket.socket(socket.AF_UNIX)
    one.bind(place)
ready = time.monotonic()
if kind in ("tcp", "unix"):
    one.listen()
elif kind == "file":
    open(place, "x").close()
print("ready at", ready, flush=True)
time.sleep(1000)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def config_of(kind: str, boot: float, folder: Path) -> VMConfig:
    file = str(folder / "it")
    Path(file).unlink(missing_ok=True)
    port = free_port()
    ready = {
        "tcp": probes.tcp(port), "unix": probes.unix(file), "file": probes.file(file),
        "log": probes.log("^ready at"),
    }[kind]  # fmt: skip
    place = str(port) if kind == "tcp" else file
    return VMConfig(
        kind, [sys.executable, "-S", "-c", PROGRAM, kind, place, str(boot)], ready=ready
    )


def one_start(manager: VMManager, config: VMConfig) -> tuple[float, float]:
    """Return what the program itself took, and what the wait added to it, in ms."""
    asked = time.monotonic()
    vm = manager.allocate(config)
    returned = time.monotonic()
    ready = float(str(next(manager.follow(vm))).split()[-1])
    manager.remove(vm, grace=0.0)
    return (ready - asked) * 1e3, (returned - ready) * 1e3


def main() -> None:
    starts = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    found: dict[tuple[float, str], list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, VMManager() as manager:
        for _ in range(starts):
            for boot in BOOTS:
                for kind in ("tcp", "unix", "file", "log"):
                    config = config_of(kind, boot, Path(folder))
                    found[boot, kind].append(one_start(manager, config))
    print("| probe | the program's own ms | added ms: median | 9 of 10 | most | limit |")
    print("| --- " * 6 + "|")
    for (_, kind), pairs in found.items():
        own = statistics.median(own for own, _ in pairs)
        added = sorted(more for _, more in pairs)
        tenth = added[-1 - len(added) // 10]
        cells = statistics.median(added), tenth, added[-1], max(FLOOR_MS, SHARE * own)
        print(f"| {kind} | {own:.0f} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")


if __name__ == "__main__":
    main()
