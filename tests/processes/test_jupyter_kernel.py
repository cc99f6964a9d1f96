"""A Jupyter kernel: ready when its file appears, and asked as a notebook would."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from living import BOTH, live_through
from page import config_on_page

from procvm import VMManager, probes

ASK = """
from jupyter_client import BlockingKernelClient

client = BlockingKernelClient(connection_file="kernel.json")
client.load_connection_file()
client.start_channels()
client.wait_for_ready(timeout=30)
reply = client.execute("2 + 3", reply=True, timeout=30)
assert reply["content"]["status"] == "ok", reply
client.stop_channels()
"""


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ipykernel", "jupyter_client"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install 'procvm[test-programs]'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))


def test_a_kernel_is_ready_when_its_file_appears() -> None:
    with VMManager() as manager:
        assert manager.allocate(config_on_page("kernel"))
        assert Path("kernel.json").exists()


@BOTH
def test_a_kernel_lives_through(containment: str) -> None:
    config = config_on_page("kernel")
    assert config.ready is not None
    ask = [sys.executable, "-c", ASK]
    # A kernel that was killed leaves its file, so the file alone says nothing of the next.
    config = attrs.evolve(config, ready=probes.all_of(config.ready, probes.command(ask)))

    def serves() -> None:
        subprocess.run(ask, check=True, timeout=90)

    live_through(config, containment, serves=serves)
