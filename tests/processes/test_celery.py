"""A celery worker over its filesystem broker: slow to stop politely."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from living import live_through
from page import config_on_page, on_path

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
ASK = [sys.executable, "-c", "from tasks import add; assert add.delay(2, 3).get(timeout=30) == 5"]


@pytest.mark.timeout(240)
def test_celery_with_two_children_lives_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(monkeypatch, "celery")
    monkeypatch.chdir(tmp_path)
    Path("tasks.py").write_text(APP)

    def serves() -> None:
        subprocess.run(ASK, check=True, timeout=60)

    manager = live_through(config_on_page("celery"), "tree", serves=serves, processes=3)
    assert "worker: Warm shutdown" in "\n".join(map(str, manager.logs(manager.history()[-1].vm)))
