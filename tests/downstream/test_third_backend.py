"""A third party's backend is held to the contract, and wrong ones are found out."""

from __future__ import annotations

import contextlib
import os
import random
import signal as signals
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

pytest.register_assert_rewrite("third_backend")

from third_backend import Running, ThirdBackend  # noqa: E402 - registered first

from procvm import Backend, ConfigError, FakeBackend, StopPolicy, VMConfig  # noqa: E402
from procvm.backends import Key, Plan  # noqa: E402
from procvm.probes import Command  # noqa: E402
from procvm.testing import CHECKS, BackendContract, examine  # noqa: E402


class TestThird(BackendContract):
    def make_backend(self) -> Backend:
        return ThirdBackend()


@pytest.mark.parametrize("check", CHECKS[:3], ids=lambda check: check.__name__)
def test_the_checks_may_be_parametrised_as_well(check: Callable[[Any], None]) -> None:
    examine(check, ThirdBackend)


def test_a_check_that_cannot_apply_is_skipped_with_its_reason() -> None:
    class Partly(TestThird):
        does_not_apply = {"a_manager_is_no_data": "a reason"}  # noqa: RUF012 - as users write it

    with pytest.raises(Exception, match="a reason") as caught:
        Partly().test_a_manager_is_no_data()  # type: ignore[attr-defined] # attached
    assert caught.typename == "SkipTest"


def test_the_name_of_a_check_may_be_that_of_its_test() -> None:
    class Partly(TestThird):
        does_not_apply = {"test_a_manager_is_no_data": "a reason"}  # noqa: RUF012 - the same

    with pytest.raises(Exception, match="a reason") as caught:
        Partly().test_a_manager_is_no_data()  # type: ignore[attr-defined] # attached
    assert caught.typename == "SkipTest"


@pytest.mark.parametrize("reasons", [{"a_manager_is_no_date": "why"}, {"a_manager_is_no_data"}])
def test_reasons_for_what_is_no_check_are_refused(reasons: Any) -> None:
    with pytest.raises(ConfigError, match="does_not_apply="):
        type("Partly", (TestThird,), {"does_not_apply": reasons})


@pytest.mark.parametrize("made", [ThirdBackend, None])
def test_what_is_no_backend_is_named(made: Any) -> None:
    wrong = type("Wrong", (TestThird,), {"make_backend": lambda _: made})()
    with pytest.raises(ConfigError, match=r"make_backend=.*must return a backend"):
        wrong.test_a_manager_is_no_data()


# --- wrong ones -----------------------------------------------------------------------


class InventsSuccess(ThirdBackend):
    """What a signal ended is told as code 0."""

    def _ended(self, key: Key, running: Running, code: int) -> None:
        super()._ended(key, running, max(0, code))


class TellsTheEndTooEarly(ThirdBackend):
    """The exit is told while output is still on its way."""

    def _wait(self, key: Key, running: Running, readers: Any) -> None:
        code = running.process.wait()
        self.post(lambda: self._ended(key, running, code))

    def _wrote(self, key: Key, running: Running, stream: str, data: bytes) -> None:
        if running.is_over:
            self._sink.output(key, stream, data)
        else:
            self.post(lambda: self._wrote(key, running, stream, data))


class KillsTheMainProcessAlone(ThirdBackend):
    """What a program started outlives it."""

    def _wait(self, key: Key, running: Running, readers: Any) -> None:
        code = running.process.wait()
        self.post(lambda: self._ended(key, running, code))


class NeverKills(ThirdBackend):
    """It asks, and goes on asking."""

    def stop(self, key: Key, *, grace: float) -> None:
        self.signal(key, signals.SIGTERM, to="main")


class TellsFromAnyThread(ThirdBackend):
    """Facts come from whichever thread saw them."""

    def _wait(self, key: Key, running: Running, readers: Any) -> None:
        for reader in readers:
            reader.join()
        self._ended(key, running, running.process.wait())


class TakesAnyEngine(ThirdBackend):
    """A second engine takes the first one's place."""

    def open(self, sink: Any) -> None:
        self._sink = sink


class ForgetsToCancel(ThirdBackend):
    """A timer that was cancelled fires all the same."""

    def call_later(self, delay: float, call: Callable[[], None]) -> Any:
        timer = super().call_later(delay, call)
        timer.cancel = lambda: None  # type: ignore[method-assign] # that is the bug
        return timer


class IgnoresWhatIsNotReady(ThirdBackend):
    """A ready probe always passes."""

    def watch(self, key: Key, role: str, probe: Any) -> None:
        self._sink.probed(key, role, passed=True, words="surely")


class CountsItsIdentities(ThirdBackend):
    """The same identities in each backend, and few of them."""

    def new_id(self) -> str:
        return f"{random.randrange(1000):032x}"


class TellsTwice(ThirdBackend):
    """An end is told again."""

    def _ended(self, key: Key, running: Running, code: int) -> None:
        super()._ended(key, running, code)
        super()._ended(key, running, code)


class LeavesItsLoop(ThirdBackend):
    """Its thread goes on after close."""

    def close(self) -> None:
        self.post(lambda: None)


class NeverHurries(ThirdBackend):
    """A second stop is not heard."""

    def stop(self, key: Key, *, grace: float) -> None:
        running = self._running.get(key)
        if running is None or running.kill is None:
            super().stop(key, grace=min(grace, 3.0))  # no check is to last for ever


class GoesOnAsking(ThirdBackend):
    """A probe is asked after the end as well."""

    def unwatch(self, key: Key, role: str) -> None:
        pass

    def _try(self, key: Key, running: Running, role: str, probe: Command) -> None:
        self._sink.probed(key, role, passed=True, words="surely")
        if key in self._running:
            self.call_later(probe.interval, lambda: self._try(key, running, role, probe))


class RunsAnywhere(ThirdBackend):
    """Where a program is to run, and with what, is forgotten."""

    def resolve(self, config: VMConfig, base: str) -> Plan:
        return Plan(attrs.evolve(config, env={}), base, directory=base)


class AsksInItsOwnWay(ThirdBackend):
    """The signal of the policy is forgotten."""

    def resolve(self, config: VMConfig, base: str) -> Plan:
        return super().resolve(attrs.evolve(config, stop=StopPolicy()), base)


WRONG: list[tuple[type[ThirdBackend], str, str]] = [  # the bug, the check that finds it, its words
    (InventsSuccess, "an_end_by_a_signal_is_told_with_the_signal", ""),
    (TellsTheEndTooEarly, "what_it_wrote_is_told_before_its_end", ""),
    (KillsTheMainProcessAlone, "a_removal_returns_when_the_whole_tree_is_gone", "remove returned"),
    (NeverKills, "what_does_not_hear_is_killed_at_the_end_of_its_grace", "for 1 s nothing came"),
    (TellsFromAnyThread, "an_end_is_told_with_its_code", "outside of the loop"),
    (TakesAnyEngine, "a_backend_has_one_engine", "no ConfigError was raised"),
    (ForgetsToCancel, "timers_fire_in_the_order_of_their_times", "never"),
    (IgnoresWhatIsNotReady, "what_is_not_ready_in_time_is_taken_away", "no ReadyTimeoutError"),
    (CountsItsIdentities, "an_identity_is_128_bits_and_never_comes_twice", ""),
    (LeavesItsLoop, "a_closed_backend_leaves_no_thread_process_or_descriptor", "thread 'third'"),
    (NeverHurries, "a_shorter_grace_hurries_a_stop", "for 1 s nothing came"),
    (GoesOnAsking, "nothing_is_asked_of_what_has_ended", "probed alive was told of what"),
    (RunsAnywhere, "a_program_has_its_environment_and_directory", ""),
    (AsksInItsOwnWay, "a_stop_asks_with_the_signal_of_its_policy", ""),
    (TellsTwice, "an_end_is_told_with_its_code", "exited was told twice"),
]


@pytest.fixture
def made() -> Iterator[list[ThirdBackend]]:
    backends: list[ThirdBackend] = []
    yield backends
    for process in (process for backend in backends for process in backend.spawned):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signals.SIGKILL)
    for backend in backends:
        for thread in backend.waiting:
            thread.join()
        ThirdBackend.close(backend)


@pytest.mark.parametrize(("kind", "name", "words"), WRONG, ids=[w[0].__name__ for w in WRONG])
def test_a_wrong_backend_is_found_out(
    kind: type[ThirdBackend], name: str, words: str, made: list[ThirdBackend]
) -> None:
    def make() -> ThirdBackend:
        made.append(kind())
        return made[-1]

    (check,) = [check for check in CHECKS if check.__name__ == name]
    with pytest.raises(AssertionError) as caught:
        examine(check, make, patience=1.0)
    assert words in str(caught.value) + " ".join(getattr(caught.value, "__notes__", ()))


class NeverTellsTheStart(ThirdBackend):
    """Its programs run, and nobody hears of it."""

    def open(self, sink: Any) -> None:
        class Mute:
            def __getattr__(self, name: str) -> Any:
                return (lambda *_, **__: None) if name == "started" else getattr(sink, name)

        super().open(Mute())


def test_every_check_ends_where_a_backend_is_mute() -> None:
    check = next(c for c in CHECKS if c.__name__.startswith("a_closed_backend_leaves"))
    with pytest.raises(AssertionError, match="nothing came that ends the waiting"):
        examine(check, NeverTellsTheStart, patience=0.5)


class NeverStops(FakeBackend):
    """A backend in virtual time that tells no end of what it was asked to stop."""

    def stop(self, key: Key, *, grace: float) -> None:
        """Do nothing."""


def test_a_wait_for_ever_in_virtual_time_is_a_failure_of_the_check() -> None:
    def check(bench: Any) -> None:
        bench.manager.remove(bench.manager.allocate(bench.config("web")))

    with pytest.raises(AssertionError, match="was not told, and never can be"):
        examine(check, NeverStops, command=lambda _: ["sleep"])
