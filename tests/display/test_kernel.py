"""A real notebook's kernel: what its cells show, and what Ctrl-C does in them."""

from __future__ import annotations

import importlib.util
import json
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kernel import Kernel, Ran

PAINT = re.compile(r"\x1b\[[0-9;]*m")
AT_ONCE = 5.0  # seconds: a person's patience, on a machine that is busy


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    for module in ("ipykernel", "jupyter_client"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install 'procvm[test-notebook]'")
    from kernel import Kernel

    place = tmp_path_factory.mktemp("kernel")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(place))
        patch.setenv("JUPYTER_CONFIG_DIR", str(place))
        with Kernel(place) as made:
            yield made
            closed = made.run("manager.close(); await other.close()")
            assert not closed.error, closed.messages
            assert not made.programs()


def listed(kernel: Kernel, code: str) -> list[int]:
    """Return the pids of the VMs that a list shows."""
    ran = kernel.run(f"print(json.dumps([vm.pid for vm in {code}]))")
    assert not ran.error, ran.messages
    pids: list[int] = json.loads(ran.printed)
    return pids


def test_a_manager_as_the_last_expression_is_a_table(kernel: Kernel) -> None:
    ran = kernel.run("manager.allocate(quiet('<shown>'))\nmanager")
    (result,) = ran.of("execute_result")
    assert "&lt;shown&gt;" in result["data"]["text/html"]
    assert "<shown>" not in result["data"]["text/html"]
    assert result["data"]["text/plain"] == "<VMManager with 1 VM>"
    (vm,) = kernel.run("manager.remove('<shown>')").of("execute_result")
    assert "text/html" in vm["data"]


def test_a_watched_table_changes_in_its_place_until_it_is_stopped(kernel: Kernel) -> None:
    ran = kernel.run("""
with manager.watch() as watch:
    manager.allocate(quiet("watched"))
    manager.remove("watched")
    manager.allocate(quiet("watched too"))
""")
    (first,) = ran.of("display_data")
    updates = ran.of("update_display_data")
    assert "watched" not in first["data"]["text/html"]
    assert "watched too" in updates[-1]["data"]["text/html"]
    assert {one["transient"]["display_id"] for one in [first, *updates]} == {
        first["transient"]["display_id"]
    }
    after = kernel.run("manager.remove('watched too')")
    assert after.of("update_display_data") == []


def test_a_watched_table_goes_on_in_later_cells_and_survives_an_interrupt(kernel: Kernel) -> None:
    (first,) = kernel.run("watch = manager.watch()").of("display_data")
    assert kernel.run("manager.allocate(quiet('bystander'))").error == ""
    interrupted(kernel, "manager.wait('bystander', tell)")
    ran = kernel.run("manager.remove('bystander'); watch.stop()")
    last = ran.of("update_display_data")[-1]
    assert last["transient"] == first["transient"]
    assert "bystander" not in last["data"]["text/html"]


def test_an_interrupted_cell_shows_the_verb_and_not_how_it_waits(kernel: Kernel) -> None:
    assert kernel.run("manager.allocate(quiet('bystander'))").error == ""
    for code in ("manager.wait('bystander', tell_when_blocked)", "await other_wait()"):
        assert (
            kernel.run("""async def other_wait():
    vm = await other.allocate(quiet("awaited"))
    try:
        await other.wait(vm, tell)
    finally:
        await other.remove(vm)""").error
            == ""
        )
        ran = interrupted(kernel, code)
        for error in ran.of("error"):
            trace = PAINT.sub("", "\n".join(error["traceback"]))
            frames = [line for line in trace.splitlines() if line.startswith("File ")]
            assert len([one for one in frames if "procvm" in one]) <= 3, trace
            assert re.search(r"in (Async)?VMManager\.wait\(", trace), trace
    assert kernel.run("manager.remove('bystander')").error == ""


def test_a_forgotten_manager_is_closed_unless_a_cell_has_shown_it(kernel: Kernel) -> None:
    make = """
import psutil
third = VMManager()
program_of_third = psutil.Process(third.allocate(quiet("third")).pid)
"""
    for again in ("third = VMManager()", "del third"):
        assert kernel.run(make).error == ""
        assert kernel.run(f"{again}\nprogram_of_third.wait(60)").error == ""
    assert kernel.run(f"{make}third").of("execute_result")
    ran = kernel.run("third = VMManager()\nprint(program_of_third.is_running())\n_.close()")
    assert (ran.error, ran.printed) == ("", "True\n")
    assert not kernel.programs()


def interrupted(kernel: Kernel, code: str) -> Ran:
    """Interrupt a cell once something in it has told that it is there; it ends at once."""
    cell = kernel.begin(code)
    kernel.interrupt()
    since = time.monotonic()
    ran = kernel.end(cell)
    assert ran.error in ("KeyboardInterrupt", "CancelledError"), ran.messages
    assert time.monotonic() - since < AT_ONCE
    return ran


BLOCKS = {
    "allocate": "manager.allocate(program('mine', ready=probes.file('/never')))",
    "allocate_all": """manager.allocate_all([
        quiet("one"), program("mine", ready=probes.file("/never"))])""",
    "wait": "manager.wait('bystander', tell)",
    "follow": "for line in manager.follow('bystander'): tell()",
    "remove": "manager.remove(manager.allocate(stubborn('mine')), grace=1000)",
    "reset": "manager.reset(manager.allocate(stubborn('mine')), grace=1000)",
}
AWAITS = {
    "allocate": "await other.allocate(program('mine', ready=probes.file('/never')))",
    "allocate_all": """await other.allocate_all([
        quiet("one"), program("mine", ready=probes.file("/never"))])""",
    "wait": "await other.wait('bystander', tell)",
    "remove": "await other.remove(await other.allocate(stubborn('mine')), grace=1000)",
    "reset": "await other.reset(await other.allocate(stubborn('mine')), grace=1000)",
    "follow": "async for line in other.follow('bystander'): tell()",
    "events": """
import asyncio
start = asyncio.create_task(other.allocate(quiet("loud")))
async for event in other.events():
    if event.vm.name == "loud" and event.vm.state == "running":
        tell()
""",
}


@pytest.mark.parametrize("verb", BLOCKS)
def test_ctrl_c_ends_a_cell_that_blocks_and_nothing_else(kernel: Kernel, verb: str) -> None:
    check_interrupt(kernel, BLOCKS[verb], "manager", "")


@pytest.mark.parametrize("verb", AWAITS)
def test_ctrl_c_ends_a_cell_that_awaits_and_nothing_else(kernel: Kernel, verb: str) -> None:
    check_interrupt(kernel, AWAITS[verb], "other", "await ")


def check_interrupt(kernel: Kernel, code: str, manager: str, wait: str) -> None:
    begun = kernel.run(f"by = {wait}{manager}.allocate(quiet('bystander')); print(by.pid)")
    pid = int(begun.printed)
    interrupted(kernel, code)
    pids = listed(kernel, f"{wait}{manager}.list()")
    assert pid in pids
    assert kernel.programs() <= set(pids)
    ended = kernel.run(f"""
for vm in {wait}{manager}.list():
    if vm.name != "bystander":
        {wait}{manager}.remove(vm, grace=0)
again = {wait}{manager}.get(by)
print(again.state, again.pid, again.generation == by.generation)
mine = {wait}{manager}.allocate(quiet("mine"))
{wait}{manager}.remove(mine)
{wait}{manager}.remove(by)
assert not {manager if not wait else "other._face"}.core.engine.listeners
""")
    assert ended.error == "", ended.messages
    assert ended.printed.split() == ["running", str(pid), "True"], ended.printed
    assert kernel.programs() == set()


@pytest.mark.parametrize(("face", "wait"), [("VMManager", ""), ("AsyncVMManager", "await ")])
def test_a_close_that_was_interrupted_may_be_hurried(kernel: Kernel, face: str, wait: str) -> None:
    made = kernel.run(f"third = {face}(); {wait}third.allocate(stubborn('slow'))")
    assert not made.error, made.messages
    interrupted(kernel, f"{wait}third.close(grace=1000)")
    assert len(kernel.programs()) == 1  # it is being asked to end
    closed = kernel.run(f"{wait}third.close(grace=0)")
    assert not closed.error, closed.messages
    assert kernel.programs() == set()
