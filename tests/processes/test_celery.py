"""A celery worker over its filesystem broker: slow to start, and slow to stop politely."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from living import AGAIN, live_through, need

from procvm import VMConfig, probes

APP = """
from pathlib import Path
from celery import Celery

here = Path(__file__).parent
for folder in ("queue", "processed", "control", "results"):
    (here / folder).mkdir(exist_ok=True)
app = Celery("tasks", broker="filesystem://", backend=f"file://{here / 'results'}")
app.conf.broker_transport_options = {
    "data_folder_in": str(here / "queue"), "data_folder_out": str(here / "queue"),
    "processed_folder": str(here / "processed"), "control_folder": str(here / "control"),
}

@app.task
def add(x, y):
    return x + y
"""
ASK = "from tasks import add; assert add.delay(2, 3).get(timeout=30) == 5"


@pytest.mark.timeout(240)
def test_celery_with_two_children_lives_through(tmp_path: Path) -> None:
    need("celery")
    (tmp_path / "tasks.py").write_text(APP)
    config = VMConfig(
        "celery",
        [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-c", "2", "-l", "INFO"],
        path=tmp_path,
        env={"PYTHONWARNINGS": "ignore"},
        ready=probes.log(r"celery@\S+ ready", timeout=60),
        restart=AGAIN,
    )

    def serves() -> None:
        subprocess.run([sys.executable, "-c", ASK], cwd=tmp_path, check=True, timeout=60)

    manager = live_through(config, "tree", serves=serves, processes=3)
    assert "worker: Warm shutdown" in "\n".join(map(str, manager.logs(manager.history()[-1].vm)))
