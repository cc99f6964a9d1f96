"""Whatever can never work is a ConfigError that names its field, where it is made."""

from __future__ import annotations

import inspect
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from procvm import (
    ConfigError,
    FakeBackend,
    FakeProgram,
    Limits,
    LogPolicy,
    RestartPolicy,
    StartError,
    StopPolicy,
    VMConfig,
    VMManager,
    probes,
)
from procvm.config import config_from
from procvm.protocol import Policy

HUGE = 10**400  # beyond every float
LONE = "a\ud800b"


def refused(field: str, make: Callable[..., Any], *args: Any, **options: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        make(*args, **options)
    assert caught.value.field == field
    return caught.value


@pytest.mark.parametrize(
    "value", [HUGE, -HUGE, 0, -1, float("nan"), float("inf"), True, "1", None]
)
def test_seconds_of_a_probe(value: Any) -> None:
    refused("interval", probes.tcp, 80, interval=value)
    if value is not None:
        refused("timeout", probes.notify, timeout=value)


@pytest.mark.parametrize("field", ["initial", "factor", "maximum", "jitter", "within"])
def test_numbers_of_a_restart_policy(field: str) -> None:
    for value in (HUGE, -1, float("nan")):
        refused(field, RestartPolicy, **{field: value})


@pytest.mark.parametrize("field", ["memory", "cpu_time", "open_files", "processes", "core"])
def test_numbers_beyond_what_the_kernel_holds(field: str) -> None:
    for value in (HUGE, 2**63, -1):
        refused(field, Limits, **{field: value})


def test_a_limit_says_of_what_it_is_a_number() -> None:
    for field, words in (
        ("memory", "bytes, 300 * 2**20 say, at least 1"), ("cpu_time", "seconds, at least 1"),
        ("file_size", "bytes, at least 0"), ("core", "bytes, at least 0"),
    ):  # fmt: skip
        error = refused(field, Limits, **{field: 0.5})
        assert error.why == f"must be a whole number of {words}"


def test_a_variable_that_is_to_be_unset_is_left_out() -> None:
    assert refused("env['A']", VMConfig, "x", "x", env={"A": None}).why.endswith(
        "is of type NoneType; what is left out is not set"
    )


def test_other_numbers() -> None:
    refused("grace", StopPolicy, grace=HUGE)
    refused("nice", Limits, nice=HUGE)
    refused("cpu_affinity", Limits, cpu_affinity=[HUGE])
    refused("keep", LogPolicy, keep=HUGE)
    refused("rotate", LogPolicy, rotate=HUGE)
    refused("limit", RestartPolicy, limit=HUGE)
    refused("user", VMConfig, "x", "true", user=HUGE)
    refused("user", VMConfig, "x", "true", user=2**32 - 1)
    refused("success_codes", VMConfig, "x", "true", success_codes=[HUGE])
    refused("failures", probes.tcp, 80, failures=0)


def test_words_of_a_command() -> None:
    assert VMConfig("x", [Path("/bin/ls"), "-l"]).command == ("/bin/ls", "-l")
    assert "str()" in refused("command", VMConfig, "x", ["serve", 8000]).why
    refused("command", VMConfig, "x", [b"ls"])


def test_what_looks_like_a_policy_or_a_probe_is_told_what_is_one() -> None:
    assert "StopPolicy('SIGINT'" in refused("stop", VMConfig, "x", "x", stop="SIGINT").why
    assert "LogPolicy(file" in refused("log", VMConfig, "x", "x", log="x.log").why
    assert "Limits(memory" in refused("limits", VMConfig, "x", "x", limits=1).why
    assert "probes.call" in refused("ready", VMConfig, "x", "x", ready=lambda: True).why
    assert VMConfig("x", "x", success_codes={3, 0}).success_codes == (0, 3)
    refused("success_codes", VMConfig, "x", "x", success_codes={0, "3"})


def test_a_policy_or_a_probe_may_be_a_mapping_of_its_fields() -> None:
    made = VMConfig(
        "x", "x", stop={"signal": 2, "grace": 5.0}, limits={"open_files": 9}, log={"keep": 9},
        restart={"when": "always"}, ready={"kind": "tcp", "port": 80},
        alive={"kind": "http", "url": "http://x/"},
    )  # fmt: skip
    assert made == VMConfig(
        "x", "x", stop=StopPolicy(2, 5.0), limits=Limits(open_files=9), log=LogPolicy(9),
        restart=RestartPolicy("always"), ready=probes.tcp(80), alive=probes.http("http://x/"),
    )  # fmt: skip
    assert "did you mean 'grace'" in refused("stop", VMConfig, "x", "x", stop={"timeout": 1}).why
    refused("stop.grace", VMConfig, "x", "x", stop={"grace": "5"})
    refused("restart.when", VMConfig, "x", "x", restart={"when": "sometimes"})
    refused("ready.kind", VMConfig, "x", "x", ready={"port": 80})
    why = refused("alive", VMConfig, "x", "x", alive={"kind": "log", "pattern": "x"}).why
    assert "cannot be asked again" in why


def test_a_value_of_the_environment_is_told_by_its_type_alone() -> None:
    assert str(refused("env['PORT']", VMConfig, "x", "x", env={"PORT": 8000})) == (
        "env['PORT']='...': a value must be text and is of type int; str() makes it"
    )
    assert "env='<list>': must be a mapping" in str(refused("env", VMConfig, "x", "x", env=[]))


def test_a_command_that_cannot_be_split_is_quoted_once() -> None:
    assert str(refused("command", VMConfig, "x", "echo 'it")).startswith('command="echo \'it": ')


def test_what_is_no_probe_has_a_way_out() -> None:
    assert "; call it" in refused("ready", VMConfig, "x", "x", ready=probes.notify).why
    several = [probes.tcp(80), probes.tcp(81)]
    assert "probes.all_of(*several)" in refused("ready", VMConfig, "x", "x", ready=several).why
    assert "probes.call makes one" in refused("ready", VMConfig, "x", "x", ready=len).why


def test_a_function_that_cannot_be_called_is_refused_at_once() -> None:
    for maker in (lambda vm: vm, lambda one, two: one is two):
        assert "without arguments" in refused("function", probes.call, maker).why
    for right in (list, lambda *more: more, lambda one=1: one, time.monotonic):
        probes.call(right)


def test_what_was_meant_as_another_argument_says_so() -> None:
    assert "file='web.log'" in refused("keep", LogPolicy, "web.log").why
    with pytest.raises(TypeError):
        RestartPolicy("on-failure", 3)  # type: ignore[call-arg] # three restarts were meant


def test_a_word_that_only_a_shell_knows_is_told_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for text in (
        "echo a | wc", "cd /tmp && ls", "serve > log 2>&1", "serve &", "serve >>log", "sort <in",
        "serve 2>/dev/null", "echo a; ls", "cat ~/notes", "echo $HOME", "ls ${HOME}/bin",
        "cat $HOME/'my notes'", "$HOME/serve", "'a b' \"c;\" $_x",
        "ls *.py", "ls a/*", "rm *", "ls ~", "echo $(date)", "echo `date`",
    ):  # fmt: skip
        caplog.clear()
        assert VMConfig("x", text).command == tuple(shlex.split(text))
        assert "only a shell knows it" in caplog.text
    caplog.clear()
    for plain in (
        "echo '|' \"&&\" \\;", "find -exec ls {} \\;", "echo '>x' \"<y\" 'a;'",
        "echo a|b", ["echo", "|"], "it\\'s", ["echo", "$HOME"], "grep '$HOME' \"$HOME\" \\$HOME",
        "x='a | $HOME b' '|' '$HOME'", "awk $1 $$ a$HOME", "ls {a,b} a?",
        "grep a.*b -x=*", "echo '*' \"*.py\" 'a/*' \\*.py '`date`' \"~\"",
    ):  # fmt: skip
        VMConfig("x", plain)
    assert caplog.text == ""


def test_what_a_fake_plays() -> None:
    fake = FakeBackend()
    refused("programs", fake.program, "x", {"exit_after": 1})
    refused("seconds", fake.advance, "1")
    for code in ("1", -1, 256, True):
        refused("exit_code", FakeProgram, exit_code=code)
    refused("exit_signal", FakeProgram, exit_signal="SIGFOO")
    assert FakeProgram(exit_signal="KILL").exit_signal == 9


def test_arguments_of_a_manager() -> None:
    for backend in ("fake", FakeBackend):
        refused("backend", VMManager, backend)
    with VMManager(FakeBackend()) as manager:
        manager.allocate(VMConfig("x", "x"))
        assert "VMConfig" in refused("config", manager.allocate, "ls -l").why
        refused("callback", manager.subscribe, None)
        for tail in (-1, "3"):
            refused("tail", manager.logs, "x", tail=tail)
            refused("tail", manager.history, tail=tail)
        for stream in ("err", 2, ["stderr"]):
            refused("stream", manager.logs, "x", stream=stream)
        for until in ("ready", True, 3, None):
            assert "running" in refused("until", manager.wait, "x", until).why


@pytest.mark.parametrize("port", [0, -1, 65536, HUGE, True, "80", 80.0, None])
def test_ports(port: Any) -> None:
    refused("port", probes.tcp, port)


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "http://", "http:///path", "https://:80/", "ftp://host/", "HTTP//host",
        "http://host:0/", "http://host:65536/", "http://host:-1/", "http://host:x/",
        "http://ho st/", "http://host/a b", "http://host/\r\nX: y", "http://host/\x00",
        "http://host/\x7f", "http://h\u00f6st/", "http://user@host/", "http://user:secret@host/",
        "http://[::1/", "http://[zz]/", LONE, None, 1, b"http://host/",
    ],
)  # fmt: skip
def test_urls(url: Any) -> None:
    assert "secret" not in str(refused("url", probes.http, url))


@pytest.mark.parametrize(
    "url",
    ["http://host", "https://host:1/", "http://[::1]:80/x?y=1#z", "HTTP://h/%20", "http://h?q"],
)
def test_urls_that_work(url: str) -> None:
    assert probes.http(url).url == url


@pytest.mark.parametrize("status", [(), [], "200", None, True, [True], 99, 1000, -1, HUGE, [2.0]])
def test_status_codes(status: Any) -> None:
    refused("status", probes.http, "http://host/", status=status)


def test_status_codes_without_end_are_refused_at_once() -> None:
    refused("status", probes.http, "http://host/", status=range(10**12))


@pytest.mark.parametrize("pattern", ["(", "[", "*", "(?P<a>x)(?P<a>y)", None, b"x", 1])
def test_patterns(pattern: Any) -> None:
    refused("pattern", probes.log, pattern)


@pytest.mark.parametrize("text", ["", "a\0b", LONE, None, 1])
def test_texts_of_probes(text: Any) -> None:
    refused("path", probes.unix, text)
    refused("path", probes.file, text)
    refused("host", probes.tcp, 80, text)
    refused("argv", probes.command, [text])


def test_a_path_is_a_path_of_a_probe() -> None:
    here = Path("run") / "ready"
    assert probes.file(here) == probes.file("run/ready")
    assert probes.unix(here).path == "run/ready"
    assert probes.command([here, "-x"]).argv == ("run/ready", "-x")


def test_a_probe_s_command_is_read_as_a_vm_s_is(caplog: pytest.LogCaptureFixture) -> None:
    for text in ("pg_isready -q", "curl -d 'a b' \"$URL\"", "sh -c 'a | b'"):
        assert probes.command(text) == probes.command(shlex.split(text))
        assert probes.command(text).argv == VMConfig("x", text).command
    for wrong in ("echo 'it", "", "''", "a\0", LONE, "x" * 200_000, 1, None, b"x", ["x", 1]):
        of_a_probe = refused("argv", probes.command, wrong)
        of_a_vm = refused("command", VMConfig, "x", wrong)
        assert (of_a_probe.value, of_a_probe.why) == (of_a_vm.value, of_a_vm.why)
    assert caplog.text == ""
    probes.command("pg_isready && true")
    assert "argv='pg_isready && true': its word '&&' is passed on" in caplog.text


def test_what_looks_like_arguments_of_a_probe_is_told_the_right_ones() -> None:
    with pytest.raises(ConfigError, match=r"must be a port, a number from 1 to 65535; the host"):
        probes.tcp("localhost", 8000)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"all_of\(\*several\) of a list"):
        probes.all_of([probes.tcp(1), probes.tcp(2)])  # type: ignore[arg-type]


def test_several_of_nothing() -> None:
    refused("probes", probes.all_of)
    refused("probes", probes.any_of, "x")
    refused("argv", probes.command, [])
    refused("argv", probes.command, " ")
    refused("function", probes.call, None)


def test_lone_surrogates_of_a_config() -> None:
    refused("command", VMConfig, "x", [LONE])
    refused("command", VMConfig, "x", LONE)
    refused("path", VMConfig, "x", "true", path=LONE)
    refused("env", VMConfig, "x", "true", env={LONE: "x"})
    refused("env['A']", VMConfig, "x", "true", env={"A": LONE})
    refused("inherit_env", VMConfig, "x", "true", inherit_env=[LONE])
    refused("user", VMConfig, "x", "true", user=LONE)
    refused("file", LogPolicy, file=LONE)
    refused("name", VMConfig, LONE, "true")


def test_a_name_of_bytes_that_are_no_utf_8_is_a_name() -> None:
    assert VMConfig("x", ["\udcff"], path="/\udc80").command == ("\udcff",)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"ready": {"kind": "tcp", "port": HUGE}}, "ready.port"),
        ({"ready": {"kind": "tcp", "port": 80, "interval": HUGE}}, "ready.interval"),
        ({"ready": {"kind": "log", "pattern": "("}}, "ready.pattern"),
        ({"alive": {"kind": "http", "url": "http://u:p@h/"}}, "alive.url"),
        ({"restart": {"initial": HUGE}}, "restart.initial"),
        ({"stop": {"grace": HUGE}}, "stop.grace"),
        ({"limits": {"memory": HUGE}}, "limits.memory"),
    ],
)
def test_plain_data_is_refused_with_its_path(data: dict[str, Any], field: str) -> None:
    refused(field, config_from, {"name": "x", "command": "true", **data})


def test_a_fakes_script_is_looked_at_where_it_is_made() -> None:
    refused("start_error", FakeProgram, start_error="no")
    refused("start_error", FakeProgram, start_error=StartError)
    refused("output", FakeProgram, output=(1, "stdout", "x"))
    refused("probes", FakeProgram, probes=lambda: True)
    refused("status", FakeProgram, status=3)
    refused("ignores", FakeProgram, ignores=15)
    refused("ignores", FakeProgram, ignores="SIGTERM")
    assert FakeProgram(ignores=["SIGTERM", 2]).ignores == {15, 2}
    with VMManager(fake := FakeBackend()) as manager:
        manager.allocate(VMConfig("x", "x"))
        for code in (300, -1, "x", True):
            refused("code", fake.crash, "x", code)
        refused("signal", fake.crash, "x", signal="SIGFOO")
        fake.crash("x", signal="SIGKILL")
        assert str(manager.get("x").exit) == "was ended by SIGKILL"


@pytest.mark.parametrize(
    ("field", "shape", "way"),
    [
        ("output", "(seconds, 'stdout' or 'stderr', text)", "[(0.0, 'stdout', 'up')]"),
        ("probes", "(seconds, passes, words)", "[(0.0, True, 'up')]"),
        ("status", "(seconds, text)", "[(0.0, 'up')]"),
    ],
)
def test_a_bare_text_of_a_fakes_script_is_shown_whole_with_the_way_out(
    field: str, shape: str, way: str
) -> None:
    for value in (["up"], "up", iter(["up"])):
        error = refused(field, FakeProgram, **{field: value})
        assert str(error) == f"{field}='up': must be {shape}, in a sequence: {way}"
    for late in ("0", True, -1.0, float("nan")):
        refused(field, FakeProgram, **{field: [(late, True, "up")]})
    refused(field, FakeProgram, **{field: [()]})
    refused("status", FakeProgram, status=[("0", "up")])


def test_a_policy_names_its_fields() -> None:
    for field in ("methods", "programs", "roots", "env"):
        refused(field, Policy, **{field: "one text"})
        refused(field, Policy, **{field: None})
        refused(field, Policy, **{field: [""]})


def test_status_codes_in_a_row_are_shown_as_a_range() -> None:
    assert "status=range(200, 400)" in repr(probes.http("http://x/"))
    assert "status=[200, 404]" in repr(probes.http("http://x/", status=(404, 200)))


@pytest.mark.parametrize(
    ("make", "wrong", "words"),
    [
        (
            VMConfig,
            "cwd",
            "VMConfig takes no 'cwd'; did you mean 'path'?; there are name, command, path",
        ),
        (VMConfig, "environment", "did you mean 'env'?"),
        (VMConfig, "comand", "did you mean 'command'?"),
        (VMConfig, "zzz", "VMConfig takes no 'zzz'; there are name, command"),
        (
            RestartPolicy,
            "max_restarts",
            "RestartPolicy takes no 'max_restarts'; did you mean 'limit'?",
        ),
        (StopPolicy, "timeout", "did you mean 'grace'?"),
        (Limits, "time", "did you mean 'cpu_time'?"),
        (LogPolicy, "kep", "did you mean 'keep'?"),
        (FakeProgram, "exitafter", "did you mean 'exit_after'?"),
    ],
)
def test_a_keyword_that_is_none_is_told_with_the_one_that_was_meant(
    make: Any, wrong: str, words: str
) -> None:
    with pytest.raises(TypeError) as caught:
        make(**{wrong: 1})
    assert words in str(caught.value)


def test_what_python_says_of_other_calls_is_left_as_it_is() -> None:
    with pytest.raises(TypeError, match="missing 2 required positional arguments"):
        VMConfig()  # type: ignore[call-arg] # the mistake
    assert list(inspect.signature(VMConfig).parameters)[:3] == ["name", "command", "path"]
    assert attrs.evolve(VMConfig("x", "y"), name="z").name == "z"


def test_a_signal_of_nearly_that_name_is_named() -> None:
    assert refused("signal", StopPolicy, "SIGHUB").why.endswith("did you mean 'SIGHUP'?")
    assert refused("signal", StopPolicy, "trem").why.endswith("did you mean 'TERM'?")
    assert refused("signal", StopPolicy, "").why.endswith("as 'SIGTERM'")


def test_a_mistyped_keyword_of_a_probe_is_told_the_one_that_was_meant() -> None:
    wrong: Any = {"time_out": 3}
    with pytest.raises(TypeError, match="takes no 'time_out'; did you mean 'timeout'"):
        probes.tcp(80, **wrong)
