"""The tutorial is one program whose blocks print what stands below them; its files work."""

from __future__ import annotations

import doctest
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")
END = "-- the block ends here --"
LOOSE = doctest.ELLIPSIS


@pytest.fixture
def blocks() -> list[tuple[str, str]]:
    """Return each block and the output that stands below it, if any."""
    return BLOCK.findall(PAGE.read_text())


@pytest.fixture
def files(blocks: list[tuple[str, str]], tmp_path: Path) -> dict[str, Path]:
    """Write the blocks that begin with the name of a file."""
    named = {match[1]: text for text, _ in blocks if (match := FILE.match(text))}
    for name, text in named.items():
        (tmp_path / name).write_text(text)
    return {name: tmp_path / name for name in named}


def test_each_block_prints_what_stands_below_it(
    blocks: list[tuple[str, str]], tmp_path: Path
) -> None:
    shown = [(text, output) for text, output in blocks if not FILE.match(text)]
    program = f"\nprint({END!r}, flush=True)\n".join(text for text, _ in shown)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        timeout=60, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    outputs = done.stdout.split(f"{END}\n")
    check = doctest.OutputChecker()
    for (text, wanted), got in zip(shown, outputs, strict=False):
        assert check.check_output(wanted, got, LOOSE), f"{text}\n-- printed --\n{got}{done.stderr}"
    assert (done.returncode, len(outputs)) == (0, len(shown)), done.stderr


def test_a_block_is_short(blocks: list[tuple[str, str]]) -> None:
    assert len(blocks) > 15
    for text, _ in blocks:
        assert len(text.splitlines()) <= (30 if FILE.match(text) else 15), text


def test_its_tests_pass(files: dict[str, Path]) -> None:
    tests = files["test_supervise.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests.name]
    done = subprocess.run(
        command, cwd=tests.parent, timeout=60, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_its_program_keeps_a_server_until_ctrl_c(files: dict[str, Path]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-u", files["supervise.py"].name, str(port)]
    with subprocess.Popen(
        command, cwd=files["supervise.py"].parent, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        lines = iter(program.stdout)
        assert any(line.startswith("web: ready") for line in lines)
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        os.kill(program.pid, signal.SIGINT)
        assert any(line.startswith("web: removed") for line in lines)
        assert program.wait(timeout=30) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)
