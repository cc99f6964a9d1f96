"""A VM as a fixture of a conftest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from procvm import ConfigError, VMConfig
from procvm.testing import vm_fixture

pytest_plugins = ["suites"]
Run = Callable[..., pytest.RunResult]


def test_a_vm_lives_as_long_as_its_scope(
    pytester: pytest.Pytester, run: Run, workers: tuple[str, ...]
) -> None:
    pytester.makeconftest(
        """
        from procvm import VMConfig
        from procvm.testing import vm_fixture

        sleeps = ["sleep", "1000"]
        web = vm_fixture("web", VMConfig("web", sleeps), scope="session")
        db = vm_fixture("db", {"name": "db", "command": sleeps}, scope="module")
        each = vm_fixture("each", VMConfig("each", sleeps))
        """
    )
    suite = """
        pids = {"web": set(), "db": set(), "each": set()}

        def note(web, db, each):
            for vm in (web, db, each):
                pids[vm.name].add(vm.pid)

        def test_a(web, db, each):
            note(web, db, each)

        def test_b(web, db, each, vm_manager, vm_manager_session):
            note(web, db, each)
            assert [vm.name for vm in vm_manager.list()] == ["each"]
            assert {vm.name for vm in vm_manager_session.list()} == {"web", "db"}

        def test_c():
            counts = {name: len(seen) for name, seen in pids.items()}
            assert counts == {"web": 1, "db": 1, "each": 2}
        """
    pytester.makepyfile(test_one=suite, test_two=suite)
    run(*workers, *(("--dist=loadfile",) if workers else ())).assert_outcomes(passed=6)


def test_what_cannot_be_started_shows_its_last_lines(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeconftest(
        """
        from procvm import VMConfig, probes
        from procvm.testing import vm_fixture

        command = ["sh", "-c", "echo cannot-bind; exit 1"]
        web = vm_fixture("web", VMConfig("web", command, ready=probes.tcp(9)), scope="session")
        """
    )
    pytester.makepyfile("def test_it(web): pass")
    result = run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*VM web: removed*code 1*", "*cannot-bind*"])


def test_each_test_that_needs_what_cannot_be_started_is_told_why(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makeconftest(
        """
        from procvm import VMConfig, probes
        from procvm.testing import vm_fixture

        command = ["sh", "-c", "echo cannot-bind; exit 1"]
        web = vm_fixture("web", VMConfig("web", command, ready=probes.tcp(9)), scope="session")
        """
    )
    pytester.makepyfile(
        """
        def test_one(web): pass
        def test_two(web): pass
        def test_another(vm_manager_session): assert False
        """
    )
    result = run()
    result.assert_outcomes(errors=2, failed=1)
    text = result.stdout.str()
    assert text.count("- VM web: removed, exited with code 1") == 2
    assert text.count("\nstdout: cannot-bind\n") == 2
    assert not any(file in text for file in ("_fixture.py:", "_tickets.py:", "pytest_procvm.py:"))


def test_a_config_may_depend_on_other_fixtures(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeconftest(
        """
        from procvm import VMConfig
        from procvm.testing import vm_fixture

        def config(request):
            home = request.getfixturevalue("tmp_path_factory").mktemp("home")
            return VMConfig("web", ["sleep", "1000"], path=home)

        web = vm_fixture("web", config, scope="module")
        """
    )
    pytester.makepyfile(
        """
        import os

        def test_it(web):
            assert os.readlink(f"/proc/{web.pid}/cwd") == web.config.path

        def test_a_test_may_remove_it(web, vm_manager_session):
            vm_manager_session.remove(web)
        """
    )
    run().assert_outcomes(passed=2)


def test_a_vm_that_failed_meanwhile_is_shown(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeconftest(
        """
        from procvm import VMConfig
        from procvm.testing import vm_fixture

        web = vm_fixture("web", VMConfig("web", "sleep 1000"), scope="session")
        """
    )
    pytester.makepyfile(
        """
        import os

        def test_it(web, vm_manager_session):
            os.kill(web.pid, 9)
            vm_manager_session.wait(web)
            assert False
        """
    )
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*VM web: failed, was ended by SIGKILL, up *"])


def test_a_scope_that_is_none_and_a_function_of_nothing_are_named() -> None:
    with pytest.raises(ConfigError, match=r"scope='sessions'.*must be one of function, class"):
        vm_fixture("web", VMConfig("web", "true"), scope="sessions")  # type: ignore[arg-type] # refused
    with pytest.raises(ConfigError, match=r"config=.*pytest's request"):
        vm_fixture("web", lambda: VMConfig("web", "true"))  # type: ignore[arg-type, misc] # the same
    with pytest.raises(ConfigError, match=r"config='sleep 10'.*must be a VMConfig"):
        vm_fixture("web", "sleep 10")  # type: ignore[arg-type] # the same


def test_a_setup_that_fails_names_the_fixture(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeconftest(
        """
        from procvm import VMConfig
        from procvm.testing import vm_fixture

        one = vm_fixture("one", VMConfig("same", "sleep 1000"), scope="session")
        two = vm_fixture("two", VMConfig("same", "sleep 1000"), scope="session")
        home = vm_fixture("home", lambda tmp_path: VMConfig("home", "sleep 1", path=tmp_path))
        """
    )
    pytester.makepyfile(
        """
        def test_one(one, two): ...
        def test_home(home): ...
        """
    )
    result = run()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines([
        "*in vm_fixture('two', ...)",
        "*in the function of vm_fixture('home', ...), which is given pytest's request",
    ])  # fmt: skip
    shown = run("--fixtures").stdout
    shown.fnmatch_lines(
        ["    A VM, started for each session: procvm.testing.vm_fixture('one', ...)."]
    )


def test_a_mapping_is_looked_at_where_the_fixture_is_made() -> None:
    with pytest.raises(ConfigError, match="did you mean 'command'"):
        vm_fixture("web", {"name": "web", "comand": "sleep 9"})


@pytest.mark.parametrize("name", ["a b", "", "vm_manager", None])
def test_a_name_that_no_test_can_ask_for_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="by which tests ask for it"):
        vm_fixture(name, VMConfig("x", "sleep 1"))
