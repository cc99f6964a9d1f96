"""The JSON Schema of every message: a file, made from the types by ``docs/render_schema.py``."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["json_schema"]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a documented request, with every message in ``$defs``.

    ``$defs`` holds ``<method>.request`` and ``<method>.response`` for each method, both also
    with ``.extended`` for the extended dialect, and ``unknown.response`` with its ``.extended``
    for what fits no method. It says what the types say; a Dispatcher refuses more, a port out
    of range for one. Each call returns a dict of its own.
    """
    from importlib import resources  # noqa: PLC0415 - who asks for no schema needs none of it

    text = resources.files(__package__).joinpath("schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
