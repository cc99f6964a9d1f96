"""The plugin, seen from suites of its users."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]


def test_a_test_owns_what_it_allocates(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from procvm import VMConfig

        def test_real(vm_manager):
            assert vm_manager.allocate(VMConfig("web", "sleep 1000")).pid

        def test_fake(fake_vm_manager):
            assert fake_vm_manager.allocate(VMConfig("web", "web")).pid > 2**22
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)


def test_a_failing_test_shows_its_vms(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from procvm import VMConfig

        def test_it(vm_manager):
            vm_manager.wait(vm_manager.allocate(VMConfig("says", "echo hello-from-the-vm")))
            assert False
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*VM says: exited*", "*hello-from-the-vm*"])


def test_the_plugin_imports_no_procvm_until_a_fixture_asks() -> None:
    code = "import pytest_procvm, sys; assert 'procvm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
