"""Values say what they are in a sentence; their repr has every field."""

from __future__ import annotations

import attrs

from procvm import FakeBackend, FakeProgram, HealthReport, VMConfig, VMManager, VMState


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
