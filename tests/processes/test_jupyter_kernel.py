"""A Jupyter kernel: ready when its connection file is there and it answers as to a notebook."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from living import AGAIN, BOTH, live_through, need

from procvm import VMConfig, VMManager, probes

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
    ask = [sys.executable, "-c", ASK, str(connection)]
    config = VMConfig(
        "kernel",
        [sys.executable, "-m", "ipykernel_launcher", "-f", str(connection)],
        path=tmp_path,
        env={"IPYTHONDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)},
        # A kernel that was killed leaves its file, so the file alone says nothing of the next.
        ready=probes.all_of(probes.file(str(connection)), probes.command(ask)),
        restart=AGAIN,
    )

    def serves() -> None:
        subprocess.run(ask, check=True, timeout=90)

    live_through(config, containment, serves=serves)


def test_a_kernel_is_ready_when_its_file_appears(tmp_path: Path) -> None:
    need("ipykernel")
    connection = tmp_path / "kernel.json"  # a relative name would be in the runtime directory
    config = VMConfig(
        "kernel",
        [sys.executable, "-m", "ipykernel_launcher", "-f", str(connection)],
        env={"IPYTHONDIR": str(tmp_path)},
        ready=probes.file(str(connection)),
    )
    with VMManager() as manager:
        vm = manager.allocate(config)
        assert connection.exists()
        assert "kernel.json is there" in vm.reason
