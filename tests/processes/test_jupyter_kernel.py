"""A Jupyter kernel: ready when its connection file is there, and asked as a notebook would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from living import AGAIN, BOTH, live_through, need

from procvm import VMConfig, probes

ASK = """
import sys
from jupyter_client import BlockingKernelClient

client = BlockingKernelClient(connection_file=sys.argv[1])
client.load_connection_file()
client.start_channels()
client.wait_for_ready(timeout=30)
reply = client.execute("2 + 3", reply=True, timeout=30)
assert reply["content"]["status"] == "ok", reply
client.stop_channels()
"""


@BOTH
def test_a_kernel_lives_through(containment: str, tmp_path: Path) -> None:
    need("ipykernel")
    need("jupyter_client")
    connection = tmp_path / "kernel.json"
    config = VMConfig(
        "kernel",
        [sys.executable, "-m", "ipykernel_launcher", "-f", str(connection)],
        env={"IPYTHONDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)},
        ready=probes.file(str(connection)),
        restart=AGAIN,
    )

    def serves() -> None:
        subprocess.run([sys.executable, "-c", ASK, str(connection)], check=True, timeout=90)

    live_through(config, containment, serves=serves)
