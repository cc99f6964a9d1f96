"""How the docs are built."""

from __future__ import annotations

import json
import logging
import os
import sys
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

project = "procvm"
author = "the procvm developers"
copyright = "2026, the procvm developers"
release = version = installed("procvm")
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
exclude_patterns = ["_build", "jupyter_execute"]  # what builds write
autodoc_typehints = "none"
autodoc_member_order = "bysource"
nitpick_ignore_regex = [("py:.*", ".*")]  # types are shown as they are written
myst_heading_anchors = 2  # a page may link to a heading of another

# Pages that begin with a kernelspec are notebooks: each build runs them, and a cell that fails
# is a warning, so it fails a build with -W. A stored output would show what no longer happens.
nb_execution_mode = "force"
nb_execution_show_tb = True
nb_execution_timeout = 100
nb_execution_in_temp = True


def setup(app: Any) -> None:
    """Give the notebooks the interpreter that builds, whatever kernels the user has."""
    place = Path(app.doctreedir) / "kernel"
    spec = place / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True, exist_ok=True)
    launch = ["-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
    argv = [sys.executable, *launch]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    os.environ["JUPYTER_PATH"] = str(place)  # looked at before all others
    logging.getLogger("traitlets").setLevel(logging.WARNING)  # a quiet build is quiet
    os.environ["IPYTHONDIR"] = str(place)  # no profile, start-up file or history of the user's
