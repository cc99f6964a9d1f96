"""How the docs are built."""

from __future__ import annotations

from importlib.metadata import version as installed

project = "procvm"
author = "the procvm developers"
copyright = "2026, the procvm developers"
release = version = installed("procvm")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
exclude_patterns = ["_build"]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
nitpick_ignore_regex = [("py:.*", ".*")]  # types are shown as they are written
