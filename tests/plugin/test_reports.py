"""What a failing test's report says of its VMs: in the terminal, through xdist and in junit."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest

pytest_plugins = ["suites"]
Run = Callable[..., pytest.RunResult]

SUITE = """
import pytest
from procvm import FakeProgram, VMConfig, probes

def says(name="says", code=3):
    return VMConfig(name, ["sh", "-c", f"echo hello-from-{name}; exit {code}"])

def test_call(vm_manager):
    vm_manager.wait(vm_manager.allocate(says()))
    vm_manager.allocate(VMConfig("lives", "sleep 1000"))
    assert False

@pytest.fixture
def unready(vm_manager):
    ready = probes.log("never")
    vm_manager.allocate(VMConfig("unready", ["sh", "-c", "echo last-words"], ready=ready))

def test_setup(unready):
    pass

@pytest.fixture
def broken(vm_manager):
    yield vm_manager
    assert False

def test_teardown(broken):
    broken.wait(broken.allocate(says("torn", 0)))

def test_fake(fake_vm_manager):
    fake_vm_manager.backend.program("old", FakeProgram(exit_after=3600.0, exit_code=1))
    fake_vm_manager.wait(fake_vm_manager.allocate(VMConfig("old", "old")))
    pytest.fail("without a traceback", pytrace=False)

def test_passes(vm_manager):
    vm_manager.wait(vm_manager.allocate(says("silent", 0)))
"""


def test_each_vm_of_a_failing_test_has_a_section(
    pytester: pytest.Pytester, run: Run, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(SUITE)
    result = run(*workers)
    result.assert_outcomes(failed=2, errors=2, passed=2)
    text = result.stdout.str()
    lines = [line.strip("- ") for line in result.outlines]
    for start, middle, body in [
        ("VM says: failed", "exited with code 3, up 0.", "stdout: hello-from-says"),
        ("VM lives: running, pid ", "up 0.", "ready"),
        ("VM unready: removed", "exited with code 0", "stdout: last-words"),
        ("VM torn: removed", "exited with code 0", "stdout: hello-from-torn"),
        ("VM old: failed", "exited with code 1, up 3600.0 s", ""),
    ]:
        titles = [line for line in lines if line.startswith(start)]
        assert len(titles) == 1, (start, text)
        assert middle in titles[0]
        assert body in text
    assert "silent" not in text


def test_junit_has_them_in_the_text_of_the_failure(
    pytester: pytest.Pytester, run: Run, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(SUITE)
    result = run("--junitxml=junit.xml", *workers)
    tree = ET.parse(pytester.path / "junit.xml")  # noqa: S314 - our own
    told = {
        case.get("name"): "".join(child.text or "" for child in case)
        for case in tree.iter("testcase")
    }
    assert "VM says: failed, exited with code 3" in told["test_call"]
    assert "hello-from-says" in told["test_call"]
    assert "VM lives: running" in told["test_call"]
    assert "last-words" in told["test_setup"]
    assert "hello-from-torn" in told["test_teardown"]
    assert "VM old: failed" in told["test_fake"]
    assert not told["test_passes"]
    assert sum("VM says: failed" in line for line in result.outlines) == 1  # nor twice elsewhere


def test_only_vms_that_the_test_could_see_are_shown(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        from procvm import VMConfig

        def test_a(vm_manager_session):
            vm_manager_session.remove(vm_manager_session.allocate(VMConfig("earlier", "true")))

        def test_b(vm_manager_session):
            vm_manager_session.remove(vm_manager_session.allocate(VMConfig("mine", "true")))
            assert False

        def test_c(vm_manager):
            assert False

        def test_d(request):
            request.getfixturevalue("vm_manager_session")
            manager = request.getfixturevalue("vm_manager")
            manager.allocate(VMConfig("asked-for", "true"))
            assert False
        """
    )
    text = run().stdout.str()
    assert "VM earlier" not in text
    assert text.count("VM mine: removed") == 1
    assert text.count("VM asked-for of vm_manager: ") == 1  # and none of the other manager


def test_long_output_is_cut_and_its_file_named(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        from procvm import LogPolicy, VMConfig

        def test_it(vm_manager, tmp_path):
            log = LogPolicy(file=tmp_path / "whole.log")
            vm_manager.wait(vm_manager.allocate(VMConfig("counts", "seq 1000", log=log)))
            assert False
        """
    )
    result = run()
    result.stdout.fnmatch_lines(
        ["all of its output: *whole.log", "the last 40 of 1000 lines:", "stdout: 961", "*1000"]
    )
    assert "stdout: 960" not in result.stdout.str()


def test_a_section_tells_its_lives_apart(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        from procvm import VMConfig, probes

        def test_it(vm_manager):
            program = ["sh", "-c", "echo up; sleep 1000"]
            vm = vm_manager.allocate(VMConfig("own", program, ready=probes.log("up")))
            vm_manager.reset(vm)
            assert False
        """
    )
    result = run()
    title = r"VM own: running, pid \d+, generation 2, the one before was ended by SIGTERM, up "
    result.stdout.re_match_lines([f"-* {title}.* -*"])
    result.stdout.fnmatch_lines(
        ["of generation 1:", "stdout: up", "of generation 2:", "stdout: up"], consecutive=True
    )


def test_vms_of_one_name_in_several_managers_are_told_apart(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile(
        """
        from procvm import VMConfig

        def test_fails(vm_manager, fake_vm_manager, vm_manager_session):
            for manager in (vm_manager, fake_vm_manager, vm_manager_session):
                manager.allocate(VMConfig("same", ["sleep", "1000"]))
            try:
                assert 0
            finally:
                vm_manager_session.remove("same")
        """
    )
    result = run()
    result.assert_outcomes(failed=1)
    for manager in ("vm_manager", "fake_vm_manager"):
        result.stdout.fnmatch_lines([f"*VM same of {manager}: running, pid *"])
    result.stdout.fnmatch_lines(["*VM same of vm_manager_session: removed, *"])


def test_a_section_shows_what_a_terminal_would_and_that_a_fake_has_no_script(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile(
        """
        from procvm import FakeProgram, VMConfig

        def test_real(vm_manager):
            text = r"printf '\\033[31mred\\033[0m\\n10 %%\\r100 %%\\n'"
            vm_manager.wait(vm_manager.allocate(VMConfig("painted", ["sh", "-c", text])))
            assert False

        def test_fake(fake_vm_manager):
            fake_vm_manager.backend.program("scripted", FakeProgram())
            fake_vm_manager.allocate_all([VMConfig("scripted", "x"), VMConfig("bare", "x")])
            assert False
        """
    )
    lines = run().outlines
    at = next(n for n, line in enumerate(lines) if "VM painted" in line)
    assert lines[at + 1 : at + 4] == [
        "the program exited with code 0",
        "stdout: red",
        "stdout: 100 %",
    ]
    told = "without a script, and so silent until they are stopped: 'bare'"
    assert lines.count(told) == 1
    assert "VM bare" in lines[lines.index(told) - 2]


def test_a_vm_of_a_fixture_that_an_earlier_test_has_removed_is_shown(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makeconftest(
        """
        from procvm import VMConfig
        from procvm.testing import vm_fixture

        kv = vm_fixture("kv", VMConfig("kv", "sleep 1000"), scope="session")
        """
    )
    pytester.makepyfile(
        """
        def test_removes(kv, vm_manager_session):
            vm_manager_session.remove(kv)

        def test_needs(kv):
            assert False
        """
    )
    assert "VM kv: removed, was ended by SIGTERM" in run().stdout.str()
