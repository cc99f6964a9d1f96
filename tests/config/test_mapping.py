from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import pytest

from procvm import ConfigError, Limits, LogPolicy, RestartPolicy, StopPolicy, VMConfig, probes
from procvm.config import config_from, config_to

BASE: dict[str, Any] = {"name": "web", "command": ["sleep", "5"]}
FULL = VMConfig(
    "web",
    ["a", "b c"],
    path="/srv",
    env={"A": "b"},
    ready=probes.all_of(
        probes.tcp(80, interval=2), probes.http("http://x/", status=200), probes.notify()
    ),
    alive=probes.any_of(probes.command(["true"]), probes.unix("/s"), probes.file("/f")),
    restart=RestartPolicy(limit=None, initial=1),
    stop=StopPolicy(signal="INT", to="tree"),
    limits=Limits(memory=5, cpu_affinity=[1, 0]),
    log=LogPolicy(file="/x"),
    inherit_env=["PATH"],
    success_codes=(0, 3),
    user="bob",
)


def test_only_what_was_said_is_in_the_data() -> None:
    assert config_to(VMConfig("web", "sleep 5")) == BASE
    assert config_to(VMConfig("web", "sleep 5", ready=probes.tcp(80))) == {
        **BASE, "ready": {"kind": "tcp", "port": 80},
    }  # fmt: skip


@pytest.mark.parametrize("when", ["on-failure", "always"])
def test_a_restart_is_a_word_where_a_word_says_it(
    when: Literal["on-failure", "always"],
) -> None:
    config = VMConfig("web", "sleep 5", restart=when)
    assert config_to(config)["restart"] == when
    assert config_from(config_to(config)) == config


def test_everything_comes_back_equal_through_json() -> None:
    assert config_from(json.loads(json.dumps(config_to(FULL), allow_nan=False))) == FULL


def test_the_data_is_the_readers_own() -> None:
    config_to(FULL)["env"]["A"] = "changed"
    assert FULL.env == {"A": "b"}


@pytest.mark.parametrize("value", [None, 1, True, "x", [], [("name", "x")], object()])
def test_what_is_no_mapping_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError):
        config_from(value)


def test_unknown_keys_are_named() -> None:
    with pytest.raises(ConfigError, match="'evn', 'zzz'"):
        config_from({**BASE, "zzz": 1, "evn": {}})


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"name": 1}, "name"),
        ({"name": None}, "name"),
        ({"command": b"x"}, "command"),
        ({"command": ["x", 1]}, "command"),
        ({"path": True}, "path"),
        ({"env": {"A": 1}}, "env['A']"),
        ({"env": None}, "env"),
        ({"stop": None}, "stop"),
        ({"stop": "now"}, "stop"),
        ({"stop": {"grace": True}}, "stop.grace"),
        ({"stop": {"grace": "1"}}, "stop.grace"),
        ({"stop": {"to": []}}, "stop.to"),
        ({"stop": {"x": 1}}, "stop"),
        ({"limits": {"memory": True}}, "limits.memory"),
        ({"limits": {"memory": 1.0}}, "limits.memory"),
        ({"limits": {"cpu_affinity": [True]}}, "limits.cpu_affinity"),
        ({"log": {"keep": "1"}}, "log.keep"),
        ({"log": {"file": 1}}, "log.file"),
        ({"restart": True}, "restart"),
        ({"restart": "sometimes"}, "restart"),
        ({"restart": {"when": "sometimes"}}, "restart.when"),
        ({"ready": {}}, "ready.kind"),
        ({"ready": {"kind": []}}, "ready.kind"),
        ({"ready": {"kind": "tcp"}}, "ready.port"),
        ({"ready": {"kind": "tcp", "port": "80"}}, "ready.port"),
        ({"ready": {"kind": "tcp", "port": True}}, "ready.port"),
        ({"ready": {"kind": "tcp", "port": 80, "prot": 1}}, "ready"),
        ({"ready": {"kind": "call"}}, "ready.kind"),
        ({"ready": {"kind": "all_of", "probes": [1]}}, "ready.probes[0]"),
        (
            {"ready": {"kind": "any_of", "probes": [{"kind": "notify"}, {"kind": "tcp"}]}},
            "ready.probes[1].port",
        ),
        ({"stop": "SIGINT"}, "stop"),
        ({"log": "web.log"}, "log"),
        ({"ready": {"kind": "all_of", "probes": 1}}, "ready.probes"),
        ({"alive": {"kind": "log", "pattern": "x"}}, "alive"),
        ({"inherit_env": 1}, "inherit_env"),
        ({"success_codes": [True]}, "success_codes"),
        ({"user": True}, "user"),
    ],
)
def test_types_are_exact_and_the_field_is_named(more: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from({**BASE, **more})
    assert caught.value.field == field
    assert "Policy(" not in caught.value.why  # nobody who writes JSON is told of Python


@pytest.mark.parametrize("missing", ["name", "command"])
def test_name_and_command_are_required(missing: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from({key: BASE[key] for key in BASE if key != missing})
    assert caught.value.field == missing


def test_probes_without_end_are_refused() -> None:
    probe: dict[str, Any] = {"kind": "notify"}
    for _ in range(5000):
        probe = {"kind": "all_of", "probes": [probe]}
    with pytest.raises(ConfigError):
        config_from({**BASE, "ready": probe})


def test_a_function_is_no_data() -> None:
    call = probes.call(list)
    for config in (
        VMConfig("web", "x", ready=call),
        VMConfig("web", "x", alive=probes.any_of(probes.tcp(1), call)),
    ):
        with pytest.raises(ConfigError, match="a function is no data"):
            config_to(config)


def test_values_that_are_made_already_are_taken_as_they_are() -> None:
    call, stop = probes.call(list), StopPolicy(grace=1)
    config = config_from({**BASE, "ready": call, "stop": stop})
    assert (config.ready, config.stop) == (call, stop)


class _Hostile(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError

    def __iter__(self) -> Iterator[str]:
        raise ValueError

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("where", ["env", "stop", "ready", "restart"])
def test_a_mapping_that_raises_is_a_config_error(where: str) -> None:
    with pytest.raises(ConfigError):
        config_from(_Hostile())
    with pytest.raises(ConfigError):
        config_from({**BASE, where: _Hostile()})


def test_a_mistyped_key_is_told_the_one_that_it_looks_like() -> None:
    for more, why in (
        ({"evn": {}}, "unknown keys 'evn'; .*; did you mean 'env'"),
        ({"restart": {"wehn": "always"}}, "unknown keys 'wehn'; .*; did you mean 'when'"),
        ({"ready": {"kind": "tcp", "prot": 80}}, "unknown keys 'prot'; .*; did you mean 'port'"),
        ({"ready": {"kind": "tcp", "port": 1, "prot": 80}}, "did you mean 'port'"),
        ({"comand": "x"}, "did you mean 'command'"),
        ({"cwd": "/"}, "unknown keys 'cwd'; .*; did you mean 'path'"),
        ({"restart": {"delay": 2}}, "unknown keys 'delay'; .*; did you mean 'initial'"),
        ({"ready": {"zzz": 1, "kind": "tcp", "port": 80}}, "unknown keys 'zzz'; .* host$"),
    ):
        with pytest.raises(ConfigError, match=why):
            config_from({**BASE, **more})


@pytest.mark.parametrize(
    ("probe", "why"),
    [
        ({"knid": "http", "url": "http://x/"}, "; unknown keys 'knid'; did you mean 'kind'?"),
        ({"type": "tcp", "port": 80}, "; unknown keys 'type'"),
        ({"port": 80}, "any_of"),
        ({}, "any_of"),
    ],
)
def test_a_probe_without_its_kind_is_told_that_it_is_missing(
    probe: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from({**BASE, "ready": probe})
    assert (caught.value.field, caught.value.value) == ("ready.kind", None)
    assert caught.value.why.startswith("is missing; it is one of tcp, http")
    assert caught.value.why.endswith(why)


def test_a_probe_s_command_may_be_a_text_in_the_data() -> None:
    ready = {"kind": "command", "argv": "pg_isready -h 'my host'"}
    config = config_from({**BASE, "ready": ready})
    assert config.ready == probes.command(["pg_isready", "-h", "my host"])
    assert config_to(config)["ready"]["argv"] == ["pg_isready", "-h", "my host"]


def test_what_is_no_config_has_no_data() -> None:
    with pytest.raises(ConfigError):
        config_to({})  # type: ignore[arg-type] # what a careless caller does


def test_an_error_shows_nothing_of_how_it_was_found() -> None:
    for wrong in ({"kind": "tcp", "prot": 80}, {"kind": "tcp", "port": 0}):
        with pytest.raises(ConfigError) as caught:
            config_from({"name": "x", "command": "x", "ready": wrong})
        assert caught.value.__context__ is None or caught.value.__suppress_context__
