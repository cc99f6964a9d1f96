from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", ["over_http.py", "over_unix_socket.py", "over_pipes.py"])
def test_the_five_verbs_over_a_transport(name: str) -> None:
    script = str(EXAMPLES / name)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "web runs: running; health is good",
        "after the reset it is generation 2",
        "left: []",
    ]
