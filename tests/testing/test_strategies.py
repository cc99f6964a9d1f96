"""What the strategies draw is what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from procvm import (
    ConfigError,
    FakeBackend,
    FakeProgram,
    StartError,
    VMConfig,
    VMManager,
    protocol,
)
from procvm.config import config_from, config_to
from procvm.testing import strategies as procvms

OFTEN = settings(
    max_examples=80, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

SCHEMA = protocol.json_schema()
DOCUMENTED = jsonschema.Draft202012Validator(SCHEMA).is_valid
EXTENDED = jsonschema.Draft202012Validator(
    {"$ref": "#/$defs/allocate_vm.request.extended", "$defs": SCHEMA["$defs"]}
).is_valid


@OFTEN
@given(procvms.configs())
def test_a_config_is_data_and_comes_back_the_same(config: VMConfig) -> None:
    assert config_from(json.loads(json.dumps(config_to(config)))) == config


@OFTEN
@given(procvms.configs(name="web", ready=None, command=st.just(["x"])))
def test_fields_may_be_given(config: VMConfig) -> None:
    assert (config.name, config.ready, config.command) == ("web", None, ("x",))


@OFTEN
@given(procvms.probes(alive=True))
def test_a_liveness_probe_may_be_asked_again(probe: Any) -> None:
    assert probe.may_be_alive


@OFTEN
@given(st.sampled_from(["documented", "extended"]).flatmap(
    lambda dialect: st.tuples(st.just(dialect), procvms.requests(dialect=dialect))  # type: ignore[arg-type] # one of the two
))  # fmt: skip
def test_a_request_is_understood_and_fits_the_schema(drawn: tuple[Any, dict[str, Any]]) -> None:
    dialect, request = drawn
    sent = json.loads(json.dumps(request))
    message = protocol.decode_request(sent, dialect=dialect)
    again = protocol.encode_request(message, dialect=dialect)
    assert protocol.decode_request(again, dialect=dialect) == message
    is_extended = request["method"] == "allocate_vm" and dialect == "extended"
    assert (EXTENDED if is_extended else DOCUMENTED)(sent)


@OFTEN
@given(st.lists(procvms.hostile_requests(), max_size=5))
def test_a_hostile_request_is_answered(sent: list[Any]) -> None:
    with VMManager(FakeBackend()) as manager:
        dispatcher = protocol.Dispatcher(manager, dialect="extended")
        for request in sent:
            assert dispatcher.handle(request)["result"]["status"] in ("success", "failed")


@settings(OFTEN, max_examples=40)
@given(procvms.lives(), procvms.configs(name="web", command="x", path="."))
def test_a_schedule_of_faults_has_one_history(
    lives: tuple[FakeProgram, ...], config: VMConfig
) -> None:
    def histories() -> list[Any]:
        fake = FakeBackend(seed=3)
        fake.program("web", *lives)
        with VMManager(fake) as manager:
            try:
                manager.allocate(config)
            except StartError:
                assert manager.list() == []
            fake.advance(60.0)
            unhealthy = [vm for vm in manager.list() if not vm.healthy]
            assert list(manager.health().unhealthy) == unhealthy
        return [event.as_dict() for event in manager.history()]

    first = histories()
    assert first[-1]["kind"] == "removed"
    assert histories() == first


@pytest.mark.parametrize(
    ("strategy", "holds"),
    [
        (procvms.programs(), lambda p: p.start_error is not None),
        (procvms.programs(), lambda p: 15 in p.ignores and p.exit_after is None),
        (procvms.lives(), lambda lives: len(lives) == 4),
        (procvms.configs(), lambda c: c.ready is not None and c.restart.when == "always"),
        (procvms.probes(), lambda p: p.kind == "all_of"),
        (procvms.requests(), lambda r: r["method"] == "reset_vm"),
        (procvms.requests(vm_ids=st.just("web")), lambda r: r.get("args") == {"vm_id": "web"}),
        (procvms.hostile_requests(), lambda r: isinstance(r, dict) and "method" not in r),
        (procvms.names(), lambda name: not name.isascii()),
    ],
)
def test_what_matters_is_drawn(strategy: Any, holds: Any) -> None:
    quickly = settings(
        max_examples=5000, database=None, derandomize=True, deadline=None,
        phases=[Phase.generate],
    )  # fmt: skip
    assert holds(find(strategy, holds, settings=quickly))


def test_the_door_imports_neither_hypothesis_nor_pytest() -> None:
    code = (
        "import sys, procvm.testing; assert not {'hypothesis', 'pytest'} & set(sys.modules);"
        "sys.modules['hypothesis'] = None\n"
        "try:\n    from procvm.testing import strategies\n"
        "except ImportError as e:\n    assert 'pip install hypothesis' in str(e), e\n"
        "else:\n    raise AssertionError"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_field_that_is_none_is_refused_when_it_is_given() -> None:
    with pytest.raises(ConfigError, match="nme='x': is no field of a VMConfig; there are name"):
        procvms.configs(nme="x")


def test_the_strategies_are_found_by_their_name() -> None:
    from procvm import testing

    assert testing.strategies is procvms
    assert {"strategies", "BackendContract", "vm_fixture"} <= set(dir(testing))
