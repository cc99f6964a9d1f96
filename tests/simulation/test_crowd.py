"""A hundred thousand VMs in one manager are no burden."""

from __future__ import annotations

import sys

from procvm import FakeBackend, VMConfig, VMManager

MANY = 100_000


def test_a_hundred_thousand_fakes_are_allocated_told_of_and_closed() -> None:
    fake = FakeBackend()
    with VMManager(fake) as manager:
        for number in range(MANY):
            manager.allocate(VMConfig(f"vm{number}", ["x"]))
        report = manager.health()
        assert (report.status, report.total, report.unhealthy) == ("good", MANY, ())
        assert manager.get(f"vm{MANY // 2}").name == f"vm{MANY // 2}"
        fake.crash("vm7", code=1)
        assert [vm.name for vm in manager.health().unhealthy] == ["vm7"]
        assert manager.reset("vm7").generation == 2
        assert len(manager.list()) == MANY


def test_a_report_looks_at_the_unhealthy_alone() -> None:
    """What health() calls does not grow with the number of healthy VMs: it is counted."""

    def calls(number: int) -> int:
        with VMManager(FakeBackend()) as manager:
            for one in range(number):
                manager.allocate(VMConfig(f"vm{one}", ["x"]))
            count = 0

            def trace(*_: object) -> None:
                nonlocal count
                count += 1

            sys.setprofile(trace)
            try:
                manager.health()
            finally:
                sys.setprofile(None)
            return count

    assert calls(1) == calls(1000)
