"""Values say what they are in a sentence; their repr has every field."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from procvm import (
    ConfigError,
    FakeBackend,
    FakeProgram,
    HealthReport,
    ReadyTimeoutError,
    SubprocessBackend,
    Usage,
    VMConfig,
    VMManager,
    VMState,
    probes,
)
from procvm.testing import no_leaks


def test_a_vm_its_events_and_a_report_are_sentences() -> None:
    fake = FakeBackend()
    fake.program("worker", FakeProgram(exit_after=1.0, exit_code=3))
    with VMManager(fake) as manager:
        web = manager.allocate(VMConfig("web", "web"))
        assert str(web) == f"web is running as process {web.pid}"
        assert str(manager.health()) == "good: 1 VM"
        worker = manager.wait(manager.allocate(VMConfig("worker", "x")), VMState.FAILED)
        sentence = "worker is failed: the program exited with code 3"
        assert str(worker) == sentence
        assert str(manager.health()) == f"bad: 1 of 2 VMs: {sentence}"
        told = [str(event) for event in manager.history(worker)]
        assert told[0] == "worker: allocated - to run 'x'"
        assert told[-1] == "worker: failed - the program exited with code 3"
        assert str(attrs.evolve(manager.history()[0], detail="")) == "web: allocated"


def test_a_sentence_never_shows_the_environment() -> None:
    with VMManager(FakeBackend()) as manager:
        web = manager.allocate(VMConfig("web", "web", env={"KEY": "hidden"}))
        report = HealthReport("bad", 1, (web,))
        assert "hidden" not in f"{web} {manager.history()[0]} {report}"


def test_a_vm_and_an_event_are_plain_data_without_the_environment() -> None:
    with VMManager(fake := FakeBackend()) as manager:
        manager.allocate(VMConfig("web", "web", env={"KEY": "hidden"}))
        fake.crash("web", signal=9)
        web = manager.wait("web")
        told = web.as_dict()
        assert json.loads(json.dumps(told)) == told
        assert set(told) == {a.name for a in attrs.fields(type(web))} - {"config"}
        assert (told["state"], told["exit"]["signal"]) == ("failed", 9)
        assert manager.history("web")[-1].as_dict()["vm"] == told
        report = manager.health().as_dict()
        assert report == {"status": "bad", "total": 1, "unhealthy": [told], "degraded": []}
        assert "hidden" not in json.dumps([told, report])


def test_a_line_and_a_usage_are_rows_of_a_table() -> None:
    with VMManager(fake := FakeBackend()) as manager:
        fake.program("web", FakeProgram(output=[(0.0, "stderr", "up\n")]))
        manager.allocate(VMConfig("web", "web"))
        fake.advance(1.0)
        (line,) = manager.logs("web")
        row = {"text": "up", "stream": "stderr", "at": line.at, "generation": 1}
        assert line.as_dict() == row
        usage = manager.usage("web")
        assert set(usage.as_dict()) == {a.name for a in attrs.fields(Usage)}


def test_a_manager_and_its_backend_say_what_they_are() -> None:
    fake = FakeBackend()
    fake.advance(90.0)
    assert repr(fake) == "<FakeBackend at 90 s of virtual time>"
    with VMManager(SubprocessBackend("group")) as real:
        assert repr(real.backend) == "<SubprocessBackend with containment 'group'>"
    with VMManager(fake) as manager:
        manager.allocate(VMConfig("web", "web"))
        assert repr(manager) == "<VMManager with 1 VM>"


def test_a_log_probe_of_a_fake_without_such_output_says_so() -> None:
    fake = FakeBackend()
    fake.program(
        "talks", FakeProgram(output=[(1.0, "stdout", "1\n2\n3\n"), (2.0, "stderr", "4\n")])
    )
    ready = probes.all_of(probes.tcp(1), probes.any_of(probes.log("^up$"), probes.log("done")))
    fake.program("wbe", FakeProgram(output=[(1.0, "stdout", "up\n")]))
    misnamed = "VM 'web' has no script, and no VM has the name of the script 'wbe'"
    said = {
        "web": f"'^up$' or 'done': {misnamed};",
        "talks": "'^up$' or 'done': its script writes '1', '2', '3', ...;",
    }
    with VMManager(fake) as manager:
        for name, words in said.items():
            with pytest.raises(ReadyTimeoutError) as caught:
                manager.allocate(VMConfig(name, "web", ready=ready))
            assert f"no line matched {words}" in caught.value.why
            assert "FakeProgram(output=" in caught.value.why
        assert manager.list() == []


@pytest.mark.parametrize(
    "pattern", ["ready to accept", "^up$", r"listening on \[::\]", r"a\.b", "it's"]
)
def test_the_script_that_is_shown_for_a_plain_pattern_passes(pattern: str) -> None:
    fake, config = FakeBackend(), VMConfig("db", "x", ready=probes.log(pattern))
    with VMManager(fake) as manager:
        with pytest.raises(ReadyTimeoutError, match=r"VM 'db' has no script; .* would pass") as no:
            manager.allocate(config)
        shown = no.value.why.rpartition("FakeProgram(")[2].removesuffix(" would pass")
        fake.program("db", eval(f"FakeProgram({shown}"))  # noqa: S307 - what a reader would paste
        assert manager.allocate(config).state is VMState.RUNNING


@pytest.mark.parametrize("pattern", [r"port (\d+)", "a\nb", "up|down", "(a+)+c|" + 30 * "a"])
def test_for_another_pattern_it_is_shown_how_a_line_is_scripted(pattern: str) -> None:
    fake = FakeBackend()
    fake.program("db", FakeProgram(output=[(0.0, "stdout", "ready\n")]))
    with VMManager(fake) as manager:
        with pytest.raises(ReadyTimeoutError) as caught:
            manager.allocate(VMConfig("db", "x", ready=probes.log(pattern)))
        way = "a line is scripted so: FakeProgram(output=[(0.0, 'stdout', '...\\n')])"
        assert f"its script writes 'ready'; {way}" in caught.value.why


@pytest.mark.parametrize(
    "answers", [[(60.0, False, "hung")], [(10.0, False, "no")], [(99.0, True, "late")]]
)
def test_scripted_answers_that_never_pass_say_what_they_put_out_of_force(
    answers: list[tuple[float, bool, str]],
) -> None:
    fake = FakeBackend()
    fake.program("api", FakeProgram(ready_after=2.0, probes=answers))
    words = "ready_after counts for nothing beside them"
    with VMManager(fake) as manager, pytest.raises(ReadyTimeoutError, match=words):
        manager.allocate(VMConfig("api", "x", ready=probes.tcp(80)))


def test_a_fake_that_is_ready_too_late_says_when() -> None:
    fake = FakeBackend()
    fake.program("slow", FakeProgram(ready_after=100.0))
    with VMManager(fake) as manager:
        with pytest.raises(ReadyTimeoutError) as caught:
            manager.allocate(VMConfig("slow", "slow", ready=probes.tcp(1)))
        assert "not ready after 30 s" in caught.value.why
        assert "its script is ready after 100 s (ready_after)" in caught.value.why


def test_a_usage_is_said_in_a_sentence() -> None:
    used = Usage(0.314, None, 13 * 2**20, 3, 2, 9)
    assert str(used) == "2 processes, 3 threads, 13.0 MiB, 0.31 s of CPU, 9 open files"
    one = Usage(1.0, 12.34, 2**19, 1, 1, 1)
    assert str(one) == "1 process, 1 thread, 0.5 MiB, 1.00 s of CPU (12.3 %), 1 open file"


@pytest.mark.parametrize("patience", [-1, float("nan"), "x", True])
def test_the_patience_for_leaks_is_a_number_of_seconds(patience: Any) -> None:
    with pytest.raises(ConfigError, match="patience="), no_leaks(patience=patience):
        pass


def test_an_event_has_its_vm_s_name() -> None:
    with VMManager(FakeBackend()) as manager:
        manager.allocate(VMConfig("web", "x"))
        assert {event.name for event in manager.history()} == {"web"}


def test_a_fake_is_ready_at_its_moment_whenever_it_was_started() -> None:
    fake = FakeBackend()
    fake.program("web", FakeProgram(ready_after=0.1))
    with VMManager(fake) as manager:
        for _ in range(50):  # some sums of such times are rounded down
            fake.advance(0.7)
            manager.allocate(VMConfig("web", "x", ready=probes.tcp(80, timeout=3)))
            manager.remove("web")
