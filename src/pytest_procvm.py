"""The pytest plugin: managers as fixtures, their VMs in a failing test's report, and no leftovers.

It imports nothing of procvm and changes nothing until a test asks for one of its fixtures. From
then on a test that leaves a VM or a process behind fails, and SIGTERM ends the run in order.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from procvm import VM, VMManager
    from procvm.testing import Witness

__all__ = ["fake_vm_manager", "vm_manager", "vm_manager_session"]

pytest.register_assert_rewrite("procvm.testing.contract")  # a name alone: nothing is imported

_LAST_LINES = 40
_TITLE = "VM "  # how the title of each of our sections begins
_SESSION = "vm_manager_session"
_MANAGERS = pytest.StashKey[list[Any]]()  # an item's own managers
_BEGAN = pytest.StashKey[float]()  # when an item's setup began
_WATCH = pytest.StashKey["_Watch"]()  # the config's, from the first use of a fixture on


class _Watch:
    """What is watched from the first use of a fixture on: leaks, and SIGTERM."""

    def __init__(self, session: pytest.Session) -> None:
        from procvm.testing import Witness  # noqa: PLC0415 - who installs procvm pays nothing until now

        self.witness: Witness = Witness()
        self.session_manager: VMManager | None = None
        self.closed_by = ""  # the test that has closed it
        self.is_ending = False  # the session's fixture is torn down, or the whole session
        # VMs of fixtures that outlive a test, of before this, or blamed before
        self.lasting: set[str] = {vm.vm_id for vm in self.witness.vms()}
        self._session = session
        self.terminated = 0  # the signal that ends the run
        self._handler = self._terminated  # one object, to be recognised again
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._handler)

    def _terminated(self, number: int, _: Any) -> None:
        """End the run as Ctrl-C does, fixtures first; a second SIGTERM ends it at once."""
        self.terminated = number
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._session.shouldstop = "SIGTERM"  # should the test catch what comes now
        raise KeyboardInterrupt("SIGTERM")  # pytest.exit's is an Exception, which polling swallows

    def close(self) -> None:
        """Watch no more."""
        self.witness.close()
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGTERM) == self._handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def has_lost_session_manager(self, nodeid: str) -> bool:
        """Whether a test, this one then, has closed what the others use; told once."""
        manager = self.session_manager
        if manager is None or self.is_ending or not manager.core.engine.is_closing:
            return False
        self.session_manager = None
        self.closed_by = nodeid
        return True

    def leaks(self) -> list[str]:
        """Name what a test has left, and take it away."""
        found = {vm.vm_id: vm for vm in self.witness.vms() + self.witness.forgotten()}
        left = [vm for vm_id, vm in found.items() if vm_id not in self.lasting]
        words = [f"VM {vm.name!r}, pid {vm.pid}, is {vm.state} ({_argv(vm)})" for vm in left]
        self.lasting.update(vm.vm_id for vm in left)  # blamed once, wherever it goes from here
        self.witness.remove(left)
        return words + [f"process {one} of a closed manager" for one in self.witness.leftovers()]


def _argv(vm: VM) -> str:
    import shlex  # noqa: PLC0415 - for a failure alone

    return shlex.join(vm.config.command)


def _watch(request: pytest.FixtureRequest) -> _Watch:
    stash = request.config.stash
    if _WATCH not in stash:
        stash[_WATCH] = _Watch(request.session)
    return stash[_WATCH]


def _kept(request: pytest.FixtureRequest, manager: VMManager) -> VMManager:
    request.node.stash.setdefault(_MANAGERS, []).append((str(request.fixturename), manager))
    return manager


@pytest.fixture
def vm_manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    """A VMManager over real processes; everything allocated in the test is gone after it."""
    _watch(request)
    from procvm import VMManager  # noqa: PLC0415 - as above

    with VMManager() as manager:
        yield _kept(request, manager)


@pytest.fixture(scope="session")
def vm_manager_session(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    """A VMManager over real processes for the whole session, one for each worker."""
    watch = _watch(request)
    from procvm import VMManager  # noqa: PLC0415 - as above

    with VMManager() as manager:
        watch.session_manager = manager
        yield manager
        is_cut_short = watch.is_ending
        words = _left(watch, "")  # of the last test; only now is nobody else to use them
        watch.is_ending = True
    if words and not is_cut_short:  # else no test is to blame: it came to no end
        pytest.fail(words, pytrace=False)


@pytest.fixture
def fake_vm_manager(request: pytest.FixtureRequest) -> Iterator[VMManager]:
    """A VMManager over a FakeBackend, which is its ``backend``."""
    _watch(request)
    from procvm import FakeBackend, VMManager  # noqa: PLC0415 - as above

    with VMManager(FakeBackend()) as manager:
        yield _kept(request, manager)


# --- leaks ----------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Know what a fixture of a wider scope allocates: no test is to blame for it."""
    __tracebackhide__ = True
    if fixturedef.scope == "function":
        return (yield)
    watch = request.config.stash.get(_WATCH, None)
    before = {vm.vm_id for vm in watch.witness.vms()} if watch else set()
    try:
        return (yield)
    finally:
        watch = request.config.stash.get(_WATCH, None)
        if watch is not None:
            watch.lasting |= {vm.vm_id for vm in watch.witness.vms()} - before


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail the test whose session's manager was closed by another, and say by which."""
    __tracebackhide__ = True
    if words := _closed_before(item):
        pytest.fail(words, pytrace=False)


def _closed_before(item: pytest.Item) -> str:
    watch = item.config.stash.get(_WATCH, None)
    if watch is None or not watch.closed_by or _SESSION not in _names(item):
        return ""
    way = "let it reset or remove VMs instead, or use vm_manager there"
    return f"{watch.closed_by} has closed {_SESSION}, which this test uses: {way}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail the test that has left something, after everything of its own was torn down."""
    try:
        done = yield
    except BaseException as error:
        if words := _left_by(item):
            error.add_note(words)
        raise
    if words := _left_by(item):
        pytest.fail(words, pytrace=False)
    return done


def _left_by(item: pytest.Item) -> str:
    watch = item.config.stash.get(_WATCH, None)
    return "" if watch is None else _left(watch, item.nodeid)


def _left(watch: _Watch, nodeid: str) -> str:
    words = [_words(watch.leaks())]
    if watch.has_lost_session_manager(nodeid):
        words.append(f"closed {_SESSION}, which other tests use: reset or remove VMs instead")
    return "; ".join(filter(None, words))


def _words(left: list[str]) -> str:
    """Say what was left, its name first: a summary's line is cut."""
    return f"{'; '.join(left)}: left behind, and taken away now" if left else ""


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Say what has ended the run; a worker of xdist tells its controller in its own way.

    What is torn down from here on belongs to a run that was cut short. A failure there would be
    nobody's, and end pytest with a traceback in place of its report.
    """
    watch = session.config.stash.get(_WATCH, None)
    if watch is None:
        return
    watch.is_ending = True
    if watch.terminated and not hasattr(session.config, "workerinput"):
        session.exitstatus = 128 + watch.terminated


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Watch no more."""
    watch = config.stash.get(_WATCH, None)
    if watch is not None:
        watch.close()
        del config.stash[_WATCH]


# --- the report -----------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Add a section for each VM that the test could see to the report of its failure."""
    report = yield
    if call.when == "setup":
        item.stash[_BEGAN] = call.start
    if report.failed:
        if call.when == "call" and (words := _closed_before(item)):  # asked for while it ran
            report.sections.append((_SESSION, words))
        seen = [(name, manager, 0.0) for name, manager in item.stash.get(_MANAGERS, [])]
        watch = item.config.stash.get(_WATCH, None)
        if watch is not None and watch.session_manager is not None and _SESSION in _names(item):
            seen.append((_SESSION, watch.session_manager, item.stash[_BEGAN]))
        given = {getattr(one, "vm_id", None) for one in getattr(item, "funcargs", {}).values()}
        given.add(getattr(call.excinfo and call.excinfo.value, "vm_id", None))
        several = [(name, manager, _seen(manager, since, given)) for name, manager, since in seen]
        for name, manager, vms in several:
            whose = f" of {name}" if len(several) > 1 else ""
            report.sections += [_section(manager, vm, whose) for vm in vms]
    return report


def _names(item: pytest.Item) -> set[str]:
    """Return the fixtures that a test uses, also those it asked for while it ran."""
    request = getattr(item, "_request", None)
    return {*getattr(item, "fixturenames", ()), *getattr(request, "fixturenames", ())}


def _seen(manager: VMManager, since: float, given: set[str | None]) -> list[VM]:
    """Return the VMs of a manager, and those that were removed since, as they were last.

    ``given`` are those that the error names, or that a fixture gave the test: what was removed
    by a test before it is told to each that needs it.
    """
    last = {event.vm.vm_id: event for event in manager.history()}
    return [
        event.vm
        for vm_id, event in last.items()
        if event.kind != "removed" or event.at >= since or vm_id in given
    ]


def _section(manager: VMManager, vm: VM, whose: str) -> tuple[str, str]:
    title = f"{_TITLE}{vm.name}{whose}: {vm.state}"
    if vm.pid is not None:
        title += f", pid {vm.pid}"
    if vm.generation > 1:
        title += f", generation {vm.generation}"
    if vm.exit is not None:
        title += f", {vm.exit}" if vm.pid is None else f", the one before {vm.exit}"
    if vm.started_at is not None:
        is_over = vm.pid is None and vm.exit is not None
        end = vm.exit.at if is_over and vm.exit is not None else manager.backend.wall()
        title += f", up {max(0.0, end - vm.started_at):.1f} s"
    lines = [vm.reason] if vm.reason else []
    if vm.config.log.file is not None:
        lines.append(f"all of its output: {vm.config.log.file}")
    lines += manager.backend.hints(vm.name)
    said = manager.logs(vm)
    if len(said) > _LAST_LINES:
        lines.append(f"the last {_LAST_LINES} of {len(said)} lines:")
    generations = {line.generation for line in said[-_LAST_LINES:]}
    for generation in sorted(generations):
        if generations != {vm.generation}:
            lines.append(f"of generation {generation}:")
        lives = (line for line in said[-_LAST_LINES:] if line.generation == generation)
        lines += [f"{line.stream}: {line.shown}" for line in lives]
    return title, "\n".join(lines)


class _InJunit:
    """Puts our sections into junit's text of a failure, which shows no sections."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, Any, Any]:
        """Lend them to the failure's text while junit writes it down; the terminal has its own."""
        ours = [section for section in report.sections if section[0].startswith(_TITLE)]
        kept: Any = report.longrepr
        if not ours or kept is None:
            return (yield)
        if not hasattr(kept, "addsection"):
            text = "".join(f"\n--- {title} ---\n{body}" for title, body in ours)
            report.longrepr = f"{kept}{text}"
            try:
                return (yield)
            finally:
                report.longrepr = kept
        for title, body in ours:
            kept.addsection(title, body)
        try:
            return (yield)
        finally:
            del kept.sections[-len(ours) :]


def pytest_configure(config: pytest.Config) -> None:
    """Look whether junit is written, here in the controller."""
    if getattr(config.option, "xmlpath", None) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_InJunit(), "procvm-junit")
