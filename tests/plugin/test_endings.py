"""However a run ends, nothing of its VMs is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest_plugins = ["suites"]
Run = Callable[..., pytest.RunResult]

WAITS = """
import time
from held_program import held

def test_waits(vm_manager):
    vm_manager.allocate(held())
    while True:
        time.sleep(0.05)  # a pause would not hear a signal that came just before it
"""


def test_sigterm_ends_a_run_with_its_fixtures_torn_down(
    pytester: pytest.Pytester, running: Callable[..., Any], fifo: Path
) -> None:
    pytester.makepyfile(WAITS)
    with running() as process, fifo.open() as pipe:
        assert int(pipe.readline()) == process.pid
        process.send_signal(signal.SIGTERM)
        assert pipe.read() == "polite\n"
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 143, out.decode()


def test_sigterm_to_a_worker_ends_it_with_its_fixtures_torn_down(
    pytester: pytest.Pytester, running: Callable[..., Any], fifo: Path
) -> None:
    pytester.makepyfile(WAITS)
    with running("-n", "1", "--max-worker-restart=0") as process, fifo.open() as pipe:
        worker = int(pipe.readline())
        assert worker != process.pid
        os.kill(worker, signal.SIGTERM)
        assert pipe.read() == "polite\n"
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 2, out.decode()


def test_sigterm_to_the_controller_leaves_no_vm(
    pytester: pytest.Pytester, running: Callable[..., Any], fifo: Path
) -> None:
    pytester.makepyfile(WAITS)
    with running("-n", "1") as process, fifo.open() as pipe:
        assert int(pipe.readline()) != process.pid
        process.send_signal(signal.SIGTERM)
        assert pipe.read() in ("", "polite\n")  # the worker ends as xdist ends it
        process.communicate(timeout=60)


def test_sigterm_that_a_test_swallows_ends_the_run_after_that_test(
    pytester: pytest.Pytester, run: Run, fifo: Path
) -> None:
    pytester.makepyfile(
        """
        import os, signal

        def test_swallows(fake_vm_manager):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except BaseException:
                pass

        def test_never_runs():
            pass
        """
    )
    result = run()
    result.assert_outcomes(passed=1)
    assert result.ret == 143


def test_sigterm_ends_a_test_that_takes_every_exception_for_a_failed_try(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile(
        """
        import os, signal, time

        def test_polls(fake_vm_manager):
            while True:
                try:
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(1000)
                except Exception:
                    pass
        """
    )
    result = run()
    assert result.ret == 143
    result.stdout.fnmatch_lines(["*KeyboardInterrupt*"])


def test_a_handler_of_the_users_own_stays(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeconftest(
        """
        import signal

        def mine(*_):
            pass

        def pytest_configure():
            signal.signal(signal.SIGTERM, mine)

        def pytest_unconfigure():
            assert signal.getsignal(signal.SIGTERM) is mine
        """
    )
    pytester.makepyfile(
        """
        import signal, conftest

        def test_it(vm_manager):
            assert signal.getsignal(signal.SIGTERM) is conftest.mine
        """
    )
    run().assert_outcomes(passed=1)


def test_the_default_is_put_back_and_untouched_without_a_fixture(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makeconftest(
        """
        import signal

        def pytest_unconfigure():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            print("put back")
        """
    )
    pytester.makepyfile(
        """
        import signal, sys

        def test_a():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            assert "procvm" not in sys.modules

        def test_b(vm_manager):
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        """
    )
    result = run("-s")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["put back"])


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_a_test_that_takes_too_long_leaves_no_vm(
    pytester: pytest.Pytester,
    running: Callable[..., Any],
    fifo: Path,
    workers: tuple[str, ...],
    method: str,
) -> None:
    pytester.makepyfile(WAITS)
    options = (f"--timeout-method={method}", "--timeout=2", *workers)
    with running(*options, "--max-worker-restart=0") as process, fifo.open() as pipe:
        int(pipe.readline())
        said = pipe.read()  # its end: everything of the VM is gone
        assert said == "polite\n" or method == "thread"  # os._exit tears nothing down
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 1, out.decode()
        assert method == "thread" or b"VM held: running" in out


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ("os.kill(os.getpid(), signal.SIGINT)", 2),
        ("os.kill(os.getpid(), signal.SIGTERM)", 143),
        ("pytest.exit('bye', returncode=7)", 7),
    ],
    ids=["ctrl-c", "sigterm", "exit"],
)
def test_a_run_that_is_cut_short_keeps_its_report_and_its_exit_code(
    pytester: pytest.Pytester, run: Run, ends: str, code: int
) -> None:
    """The test that held a VM came to no end: it has not left it, and the VM is taken away."""
    pytester.makepyfile(
        f"""
        import os, pathlib, signal, time, pytest
        from procvm import VMConfig

        def test_fails():
            assert 0, "an important failure"

        def test_is_cut_short(vm_manager_session):
            vm = vm_manager_session.allocate(VMConfig("held", ["sleep", "1000"]))
            pathlib.Path("pid").write_text(str(vm.pid))
            {ends}
            time.sleep(1000)
        """
    )
    result = run()
    assert result.ret == code
    result.stdout.fnmatch_lines(["*1 failed*"])
    if code != 7:
        result.stdout.fnmatch_lines(["*an important failure*"])
    assert "left behind" not in result.stdout.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert not psutil.pid_exists(int((pytester.path / "pid").read_text()))
