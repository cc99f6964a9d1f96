from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from procvm import Exit, FakeBackend, VMManager
from procvm.protocol import Dialect, Dispatcher, decode_request, json_schema

ROOT = Path(__file__).parents[2]
ENVELOPES = ROOT / "tests" / "envelopes"
GOLDEN = sorted(ENVELOPES.rglob("*.json"))
METHODS = ("allocate_vm", "remove_vm", "reset_vm", "get_health", "get_vms")


def _validator(definition: str) -> jsonschema.Draft202012Validator:
    schema = json_schema()
    del schema["oneOf"]
    return jsonschema.Draft202012Validator({**schema, "$ref": f"#/$defs/{definition}"})


def _definition(golden: Path) -> str:
    method, kind = golden.stem.replace("_usage", "").split(".")
    end = ".extended" if golden.parent.name == "extended" else ""
    return f"{method}.{'request' if kind == 'request' else 'response'}{end}"


def _read(golden: Path) -> Any:
    return json.loads(golden.read_text(encoding="utf-8"))


def test_the_file_is_made_from_the_types() -> None:
    script = str(ROOT / "docs" / "render_schema.py")
    subprocess.run([sys.executable, script, "--check"], check=True, timeout=60)


def test_it_is_a_schema_and_the_callers_own() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    json_schema().clear()
    assert json_schema()["$defs"]


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda p: "/".join(p.parts[-2:]))
def test_every_golden_file_is_accepted(golden: Path) -> None:
    _validator(_definition(golden)).validate(_read(golden))


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda p: "/".join(p.parts[-2:]))
def test_a_golden_file_without_one_of_its_keys_is_refused(golden: Path) -> None:
    data, validator = _read(golden), _validator(_definition(golden))
    for key in data.keys() - ({"args"} if data.get("method") == "get_vms" else set()):
        assert not validator.is_valid({k: v for k, v in data.items() if k != key}), key
    for key in data.get("result", ()):
        if key not in ("error", "vm_id"):
            less = {k: v for k, v in data["result"].items() if k != key}
            assert not validator.is_valid({**data, "result": less}), key


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda p: "/".join(p.parts[-2:]))
def test_the_documented_dialect_knows_none_of_the_extended_keys(golden: Path) -> None:
    more = ("result" in _read(golden) and {"error", "vm_id"} & _read(golden)["result"].keys()) or (
        golden.name in ("allocate_vm.request.json", "get_vms_usage.success.json")
    )
    is_extended = golden.parent.name == "extended"
    validator = _validator(_definition(golden).removesuffix(".extended"))
    assert validator.is_valid(_read(golden)) is not (is_extended and bool(more))


@pytest.mark.parametrize("dialect", ["documented", "extended"])
def test_what_a_dispatcher_answers_is_accepted(dialect: Dialect) -> None:
    end = ".extended" if dialect == "extended" else ""
    folder = ENVELOPES / "extended" if end else ENVELOPES
    manager = VMManager(FakeBackend())
    handle = Dispatcher(manager, dialect=dialect).handle
    for round_ in range(4):
        for method in METHODS:
            validator = _validator(f"{method}.response{end}")
            validator.validate(handle(_read(folder / f"{method}.request.json")))
            validator.validate(handle({"method": method}))
            if round_ == 1 and method == "allocate_vm":
                vm = manager.list()[0]
                manager.backend.crash(vm)  # type: ignore[attr-defined] # the fake alone has it
                assert isinstance(manager.wait(vm, lambda vm: vm.exit is not None).exit, Exit)
                _validator(f"get_vms.response{end}").validate(
                    handle(_read(folder / "get_vms.request.json"))
                )
        if round_ == 2:
            manager.close()
    for wrong in (None, {}, {"method": "x"}):
        _validator(f"unknown.response{end}").validate(handle(wrong))


_VALUES: list[Any] = [
    None, True, 0, 1, 8000, -1, 1.5, "", "x", "web", "always", [], ["a"], [0], {}, {"A": "1"},
    {"kind": "tcp", "port": 80}, {"kind": "notify"}, {"when": "always"}, {"signal": "SIGINT"},
]  # fmt: skip


def _mutated(rng: random.Random, data: Any) -> Any:
    """Replace, drop or add something somewhere."""
    if isinstance(data, dict) and data and rng.random() < 0.9:
        key = rng.choice(sorted(data))
        less = {k: v for k, v in data.items() if k != key}
        return less if rng.random() < 0.1 else {**less, key: _mutated(rng, data[key])}
    if isinstance(data, list) and data and rng.random() < 0.8:
        at = rng.randrange(len(data))
        return [*data[:at], _mutated(rng, data[at]), *data[at + 1 :]]
    return rng.choice(_VALUES)


def _tried(decode: Callable[[Any], Any], data: Any) -> bool:
    try:
        decode(data)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("dialect", ["documented", "extended"])
def test_whatever_a_dispatcher_takes_the_schema_accepts(dialect: Dialect) -> None:
    rng = random.Random(6)
    end = ".extended" if dialect == "extended" else ""
    golden = (ENVELOPES / "extended" if end else ENVELOPES) / "allocate_vm.request.json"
    request, validator = _read(golden), _validator(f"allocate_vm.request{end}")
    taken, config = 0, request["args"]["config"]
    replaced = [{**config, key: value} for key in config for value in _VALUES]
    for config in (*replaced, *(_mutated(rng, config) for _ in range(2000))):
        mutant = {**request, "args": {"config": config}}
        if _tried(lambda m: decode_request(m, dialect=dialect), mutant):
            taken += 1
            validator.validate(mutant)
    assert taken > 100
