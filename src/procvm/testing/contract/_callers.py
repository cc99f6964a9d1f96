"""Checks of many callers at the same time."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

from ...errors import DuplicateNameError, VMNotFoundError
from ._bench import Bench, Check, raises

__all__ = ["CHECKS"]

_CALLERS = 32


def a_manager_is_no_data(bench: Bench) -> None:
    """It owns processes and cannot be pickled."""
    with raises(TypeError):
        pickle.dumps(bench.manager)


def what_many_threads_remove_is_removed_once(bench: Bench) -> None:
    """Each of them is answered, and the stop happens once."""
    bench.manager.allocate(bench.config("web"))

    def remove(_: int) -> str:
        try:
            return bench.manager.remove("web").state
        except VMNotFoundError:
            return "gone"

    with ThreadPoolExecutor(_CALLERS) as pool:
        answers = set(pool.map(remove, range(_CALLERS)))
    assert "removed" in answers
    assert answers <= {"removed", "gone"}
    assert sum(event.kind == "removed" for event in bench.manager.history()) == 1


def one_of_many_threads_gets_the_name(bench: Bench) -> None:
    """The others are told that it is taken."""

    def allocate(_: int) -> str:
        try:
            return bench.manager.allocate(bench.config("web")).state
        except DuplicateNameError:
            return "duplicate"

    with ThreadPoolExecutor(_CALLERS) as pool:
        answers = sorted(pool.map(allocate, range(_CALLERS)))
    assert answers == ["duplicate"] * (_CALLERS - 1) + ["running"]


def many_programs_live_side_by_side(bench: Bench) -> None:
    """Twenty that start at the same time are twenty, each with a process of its own."""
    started = bench.manager.allocate_all([bench.config(f"vm{n}") for n in range(20)])
    assert len({vm.pid for vm in started}) == len(started)
    assert len({vm.vm_id for vm in started}) == len(started)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(bench.manager.remove, started))
    assert bench.manager.list() == []


CHECKS: tuple[Check, ...] = (
    a_manager_is_no_data, what_many_threads_remove_is_removed_once,
    one_of_many_threads_gets_the_name, many_programs_live_side_by_side,
)  # fmt: skip
