"""A test that leaves something behind fails, and says what."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest_plugins = ["suites"]
Run = Callable[..., pytest.RunResult]


def test_a_vm_left_in_the_sessions_manager_fails_the_test_alone(
    pytester: pytest.Pytester, run: Run, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(
        """
        from procvm import VMConfig

        def test_leaks(vm_manager_session):
            vm_manager_session.allocate(VMConfig("left", "sleep 1001"))

        def test_removes(vm_manager_session):
            assert not vm_manager_session.list()
            vm_manager_session.remove(vm_manager_session.allocate(VMConfig("gone", "sleep 1000")))
        """
    )
    result = run(*workers)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_leaks*"])
    words = r"VM 'left', pid \d+, is running \(sleep 1001\): left behind, and taken away now"
    result.stdout.re_match_lines([rf"(E +Failed: )?{words}"])


def test_the_summary_of_a_leak_begins_with_its_name(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it="""
        from procvm import VMConfig

        def test_leaks(vm_manager_session):
            vm_manager_session.allocate(VMConfig("left", "sleep 1001"))
        """
    )
    summary = [line for line in run().outlines if line.startswith("ERROR test_it.py::")]
    assert len(summary) == 1
    assert " - Failed: VM 'left', pid " in summary[0]


def test_a_manager_that_a_test_forgets_is_found(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        from procvm import FakeBackend, VMConfig, VMManager
        kept = []

        def test_leaks(fake_vm_manager):
            kept.append(VMManager())
            kept[0].allocate(VMConfig("forgotten", "sleep 1000"))

        def test_a_fake_leaves_no_process(fake_vm_manager):
            kept.append(VMManager(FakeBackend()))
            kept[1].allocate(VMConfig("virtual", "sleep 1000"))

        def test_that_uses_nothing_of_procvm_is_checked_as_well():
            kept[0].allocate(VMConfig("another", "sleep 1000"))
        """
    )
    result = run()
    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines(
        ["*VM 'forgotten', pid *, is running*", "*VM 'another', pid *, is running*"]
    )


@pytest.mark.parametrize("first", ["vm_manager", "fake_vm_manager", "vm_manager_session"])
def test_what_lives_before_the_first_use_of_a_fixture_is_nobodys_leak(
    pytester: pytest.Pytester, run: Run, first: str
) -> None:
    pytester.makepyfile(
        f"""
        import os, pytest
        from procvm import VMConfig, VMManager

        early = VMManager()
        imported = early.allocate(VMConfig("imported", "sleep 1000"))

        @pytest.fixture(scope="module")
        def server():
            with VMManager() as manager:
                yield manager.allocate(VMConfig("server", "sleep 1000"))

        def test_uses_nothing(server):
            pass

        def test_is_innocent(server, {first}):
            pass

        def test_finds_both_alive(server):
            os.kill(server.pid, 0)
            os.kill(imported.pid, 0)
            early.close()
        """
    )
    run().assert_outcomes(passed=3)


def test_what_a_wider_fixture_allocates_is_no_leak(
    pytester: pytest.Pytester, run: Run, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(
        """
        import pytest, unittest
        from procvm import VMConfig, VMManager

        @pytest.fixture(scope="module")
        def web(vm_manager_session):
            vm = vm_manager_session.allocate(VMConfig("web", "sleep 1000"))
            yield vm
            vm_manager_session.remove(vm)

        @pytest.fixture(scope="session")
        def own():
            with VMManager() as manager:
                manager.allocate(VMConfig("db", "sleep 1000"))
                yield manager

        def test_a(web):
            assert web.pid

        def test_b(request, vm_manager_session):
            web = request.getfixturevalue("web")
            own = request.getfixturevalue("own")
            assert vm_manager_session.get(web).pid == web.pid
            assert own.list()[0].pid

        class TestCase(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                cls.manager = VMManager()
                cls.manager.allocate(VMConfig("old-school", "sleep 1000"))

            @classmethod
            def tearDownClass(cls):
                cls.manager.close()

            def test_c(self):
                assert self.manager.list()
        """
    )
    run(*workers).assert_outcomes(passed=3)


def test_a_process_of_a_closed_manager_is_named_and_killed(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile(
        """
        import os, signal, subprocess
        from procvm import VMConfig
        left = []

        def test_leaks(vm_manager):
            vm = vm_manager.allocate(VMConfig("web", "sleep 1000"))
            mark = {"PROCVM_VM": vm.vm_id}  # as what has escaped from its tree would carry it
            left.append(subprocess.Popen(["sleep", "1234"], env={**os.environ, **mark}))
            vm_manager.remove(vm)
            assert left[0].poll() is None

        def test_after():
            assert left[0].wait(60) == -signal.SIGKILL
        """
    )
    result = run()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.re_match_lines([r".*process \d+ \(sleep 1234\) of a closed manager"])


def test_a_teardown_that_fails_says_as_well_what_is_left(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile(
        """
        import pytest
        from procvm import VMConfig

        @pytest.fixture
        def broken(vm_manager_session):
            vm_manager_session.allocate(VMConfig("left", "sleep 1001"))
            yield
            raise RuntimeError("in the teardown")

        def test_leaks(broken):
            pass

        def test_leaks_as_the_last_one(broken):
            pass
        """
    )
    result = run()
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(
        ["*RuntimeError: in the teardown", "*VM 'left', pid *, is running*left behind*"]
    )
    result.stdout.fnmatch_lines(["*VM 'left', *, is running*left behind*", "*in the teardown*"])


def test_in_any_order(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import pytest
        from procvm import VMConfig

        @pytest.mark.parametrize("number", range(6))
        def test_own(vm_manager, vm_manager_session, number):
            vm_manager.allocate(VMConfig("web", "sleep 1000"))
            vm = vm_manager_session.allocate(VMConfig("web", "sleep 1000"))
            vm_manager_session.remove(vm)

        @pytest.mark.parametrize("number", range(6))
        def test_virtual(fake_vm_manager, number):
            assert fake_vm_manager.allocate(VMConfig("web", "web")).pid == 2**22 + 2
        """
    )
    pytest.importorskip("pytest_randomly")
    for seed in ("1", "2", "3"):
        run(f"--randomly-seed={seed}").assert_outcomes(passed=12)


def test_a_manager_that_nothing_holds_any_more_is_found_as_well(
    pytester: pytest.Pytester, run: Run
) -> None:
    """It closes by itself, at the same time as the test is looked at, or before."""
    pytester.makepyfile(
        """
        import gc, pytest
        from procvm import VMConfig, VMManager
        pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

        @pytest.mark.parametrize("collect", [gc.collect, int])
        def test_leaks(vm_manager, collect):
            VMManager().allocate(VMConfig("mine", ["sleep", "1001"]))
            collect()

        def test_is_fine(vm_manager):
            vm_manager.allocate(VMConfig("mine", ["sleep", "1001"]))
        """
    )
    result = run()
    result.assert_outcomes(passed=3, errors=2)
    result.stdout.re_match_lines([r".*VM 'mine', pid \d+, is running \(sleep 1001\): left behind"])


@pytest.mark.parametrize("others", [0, 1])
def test_who_closes_the_sessions_manager_is_named(
    pytester: pytest.Pytester, run: Run, others: int
) -> None:
    other = "def test_other(): pass"
    pytester.makepyfile(
        f"""
        def test_closes(vm_manager_session):
            vm_manager_session.close()

        {other if others else ""}
        """
    )
    result = run()
    result.assert_outcomes(passed=1 + others, errors=1)
    result.stdout.fnmatch_lines(
        ["*ERROR at teardown of test_closes*", "closed vm_manager_session, which other tests use*"]
    )


def test_each_later_test_is_told_who_closed_the_sessions_manager(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile(
        test_it="""
        import pytest

        @pytest.fixture(scope="module")
        def web(vm_manager_session):
            return vm_manager_session

        def test_closes(web):
            web.close()

        def test_by_another_fixture(web):
            web.list()

        @pytest.mark.skip
        def test_skipped(vm_manager_session):
            pass

        def test_while_it_runs(request):
            request.getfixturevalue("vm_manager_session").allocate({"name": "x", "command": ["x"]})

        def test_of_its_own(vm_manager):
            assert not vm_manager.list()
        """
    )
    result = run()
    result.assert_outcomes(passed=2, errors=2, failed=1, skipped=1)
    told = "test_it.py::test_closes has closed vm_manager_session, which this test uses: *"
    result.stdout.fnmatch_lines(
        ["*ERROR at setup of test_by_another_fixture*", told, "*test_while_it_runs*", told]
    )
