"""Output in bounded memory, as lines."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procvm import (
    AsyncVMManager,
    ConfigError,
    FakeBackend,
    FakeProgram,
    LogPolicy,
    RestartPolicy,
    SubprocessBackend,
    VMConfig,
    VMManager,
    VMNotFoundError,
    WaitTimeoutError,
)
from procvm.engine import LineParser, LogBook, near_end


def texts(book: LogBook) -> list[str]:
    return [line.text for line in book.lines()]


def test_lines_come_whole_across_chunk_borders() -> None:
    book = LogBook(1000)
    for data in (b"hel", b"lo\nwor", b"ld\r\n", b"rest"):
        book.add(1, "stdout", 1.0, data)
    assert texts(book) == ["hello", "world", "rest"]


def test_streams_are_kept_apart() -> None:
    book = LogBook(1000)
    book.add(1, "stdout", 1.0, b"a")
    book.add(1, "stderr", 1.0, b"x\n")
    book.add(1, "stdout", 2.0, b"b\n")
    assert [(line.stream, line.text) for line in book.lines()] == [
        ("stderr", "x"),
        ("stdout", "ab"),
    ]


def test_a_character_split_over_two_reads_is_one_and_a_bad_byte_is_replaced() -> None:
    book = LogBook(1000)
    word = "né\n".encode()
    book.add(1, "stdout", 1.0, word[:2])
    book.add(1, "stdout", 1.0, word[2:])
    book.add(1, "stdout", 1.0, b"\xff!\n")
    assert texts(book) == ["né", "\ufffd!"]


def test_memory_is_bounded_for_each_of_two_generations() -> None:
    book = LogBook(10)
    for generation in (1, 2, 3):
        for number in range(100):
            book.add(generation, "stdout", 1.0, b"%03d\n" % number)
    kept = [(line.generation, line.text) for line in book.lines()]
    assert {generation for generation, _ in kept} == {2, 3}
    assert kept[-1] == (3, "099")
    assert len(kept) <= 6


def test_nothing_is_kept_where_nothing_is_wanted() -> None:
    book = LogBook(0)
    book.add(1, "stdout", 1.0, b"hello\n")
    assert texts(book) == []


def test_a_line_without_end_comes_in_pieces() -> None:
    book = LogBook(8 * 2**20)
    for _ in range(3):
        book.add(1, "stdout", 1.0, b"x" * 2**20)
    assert sum(len(line.text) for line in book.lines()) == 3 * 2**20
    assert max(len(line.text) for line in book.lines()) <= 2**21


@given(
    st.lists(
        st.tuples(
            st.integers(1, 2),
            st.sampled_from(["stdout", "stderr"]),
            st.lists(st.sampled_from([b"\n", b"\r", b"a", "ä".encode()[:1], "ä".encode()[1:]])),
        ),
        max_size=12,
    ),
    st.integers(0, 12),
)
def test_the_last_lines_are_the_last_of_all_lines(
    written: list[tuple[int, str, list[bytes]]], tail: int
) -> None:
    book = LogBook(1000)
    for at, (generation, stream, parts) in enumerate(sorted(written, key=lambda row: row[0])):
        book.add(generation, stream, float(at), b"".join(parts))
    assert book.lines(tail) == book.lines()[len(book.lines()) - min(tail, len(book.lines())) :]


def test_tail_gives_the_last_lines() -> None:
    book = LogBook(1000)
    book.add(1, "stdout", 1.0, b"a\nb\nc\n")
    assert [line.text for line in book.lines(2)] == ["b", "c"]
    assert book.lines(0) == []


def test_of_one_stream_the_last_lines_are_its_own() -> None:
    book = LogBook(1000)
    for stream, data in (
        ("stdout", b"a\nb"), ("stderr", b"1\n2\n"), ("stdout", b"c\n"), ("stderr", b"3"),
    ):  # fmt: skip
        book.add(1, stream, 1.0, data)
    assert [line.text for line in book.lines(stream="stdout")] == ["a", "bc"]
    assert [line.text for line in book.lines(2, "stderr")] == ["2", "3"]
    assert [line.text for line in book.lines(1, "stdout")] == ["bc"]
    assert book.lines(0, "stderr") == []


def test_both_faces_tell_one_stream_and_the_last_events() -> None:
    fake = FakeBackend()
    output = [(0.1, "stdout", "out\n"), (0.2, "stderr", "one\ntwo\n"), (0.3, "stdout", "out\n")]
    fake.program("web", FakeProgram(output=output))

    async def main() -> None:
        async with AsyncVMManager(fake) as manager:
            await manager.allocate(VMConfig("web", "x"))
            await manager.allocate(VMConfig("other", "x"))
            fake.advance(1.0)
            lines = await manager.logs("web", tail=1, stream="stderr")
            assert [line.text for line in lines] == ["two"]
            lines = await manager.logs("web", stream="stdout")
            assert [line.text for line in lines] == ["out", "out"]
            events = await manager.history()
            for count in range(len(events) + 2):
                told = await manager.history(tail=count)
                assert told == events[max(0, len(events) - count) :]
            told = await manager.history("web", tail=1)
            assert [(event.name, event.kind) for event in told] == [("web", "ready")]

    asyncio.run(main())


def test_one_more_byte_lets_go_of_a_small_part_alone() -> None:
    book = LogBook(2**16)
    book.add(1, "stdout", 0.0, b"x" * 2**20)
    book.add(1, "stdout", 0.0, b"y")
    kept = "".join(map(str, book.lines()))
    assert kept.endswith("xy")
    assert 2**15 < len(kept) <= 2**16


def test_a_reader_that_is_too_slow_is_told_what_it_missed() -> None:
    """What went past it is counted, and no line is made of two that are far apart."""
    fake = FakeBackend()
    lines = [(float(n), "stdout", f"line {n:03} and some more\n") for n in range(100)]
    lines.insert(0, (0.0, "stdout", "begun"))
    fake.program("web", FakeProgram(output=lines, exit_after=200.0))
    with VMManager(fake) as manager:
        manager.allocate(VMConfig("web", "x", log=LogPolicy(keep=200)))
        reader = manager.follow("web")
        assert str(next(reader)) == "begunline 000 and some more"
        assert reader.lost == 0
        fake.advance(100.0)
        rest = [str(line) for line in reader]
        assert rest[-1] == "line 099 and some more"
        assert all(len(line) <= len("line 000 and some more") for line in rest)
        told = sum(len(text) for _, _, text in lines)
        had = len("begunline 000 and some more\n") + sum(len(f"{line}\n") for line in rest)
        assert reader.lost == told - had


def test_a_reader_is_told_of_lives_that_went_past_it() -> None:
    fake = FakeBackend()
    life = FakeProgram(output=[(0.1, "stdout", "life\n")], exit_after=1.0, exit_code=1)
    fake.program("web", *[life] * 9, FakeProgram(exit_after=1.0, exit_code=0))
    with VMManager(fake) as manager:
        policy = RestartPolicy(limit=None, initial=0.1, factor=1.0)
        manager.allocate(VMConfig("web", "x", restart=policy))
        reader = manager.follow("web")
        assert next(reader).generation == 1
        fake.advance(60.0)
        generations = [line.generation for line in reader]
        assert reader.lost == 5 * (8 - len(generations))


@pytest.mark.parametrize("is_async", [False, True])
def test_who_keeps_nothing_is_told_that_all_was_missed(is_async: bool) -> None:
    fake = FakeBackend()
    output = [(0.1, "stdout", "one\n"), (0.2, "stdout", "two\n")]
    fake.program("web", FakeProgram(output=output, exit_after=1.0))
    config = VMConfig("web", "x", log=LogPolicy(keep=0))

    async def followed() -> tuple[list[str], int]:
        async with AsyncVMManager(fake) as manager:
            await manager.allocate(config)
            reader = manager.follow("web")
            return [str(line) async for line in reader], reader.lost

    if is_async:
        assert asyncio.run(followed()) == ([], 8)
        return
    with VMManager(fake) as manager:
        manager.allocate(config)
        reader = manager.follow("web")
        assert (list(reader), reader.lost) == ([], 8)


def test_what_is_written_byte_by_byte_is_bounded_as_well() -> None:
    for keep in (0, 2**20):
        book = LogBook(keep)
        for _ in range(50_000):
            book.add(1, "stdout", 1.0, b"x")
        assert len(book.chunks_after(0)) <= 1024 + keep // 64
        assert (book.total, book.last_number) == (50_000, 50_000)


def speaking(*output: tuple[float, str], exit_after: float | None = None) -> FakeBackend:
    fake = FakeBackend()
    lines = [(at, "stdout", text) for at, text in output]
    fake.program("web", FakeProgram(output=lines, exit_after=exit_after))
    return fake


OLD_AND_NEW = ((0.0, "one\n"), (0.1, "two\nthr"), (2.0, "ee\n"), (3.0, "four\n"))


@pytest.mark.parametrize(
    ("tail", "begins"),
    [(None, ["one", "two"]), (0, []), (1, ["two"]), (2, ["one", "two"]), (9, ["one", "two"])],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_reader_begins_with_the_last_whole_lines(
    tail: int | None, begins: list[str], is_async: bool
) -> None:
    """It begins where the call was; a line that was begun then comes whole."""
    fake = speaking(*OLD_AND_NEW, exit_after=5.0)

    async def followed() -> list[str]:
        async with AsyncVMManager(fake) as manager:
            await manager.allocate(VMConfig("web", "x"))
            fake.advance(1.0)
            reader = manager.follow("web", tail=tail)
            fake.advance(1.5)
            return [str(line) async for line in reader]

    if is_async:
        assert asyncio.run(followed()) == [*begins, "three", "four"]
        return
    with VMManager(fake) as manager:
        manager.allocate(VMConfig("web", "x"))
        fake.advance(1.0)
        reader = manager.follow("web", tail=tail)
        fake.advance(1.5)
        assert [str(line) for line in reader] == [*begins, "three", "four"]
        assert reader.lost == 0


def test_a_step_that_waits_too_long_says_so_and_the_next_one_goes_on() -> None:
    fake = speaking((0.0, "one\n"), (10.0, "two\n"), exit_after=20.0)
    with VMManager(fake) as manager:
        manager.allocate(VMConfig("web", "x"))
        reader = manager.follow("web", timeout=4.0)
        assert str(next(reader)) == "one"
        for end in (4.0, 8.0):
            with pytest.raises(WaitTimeoutError, match=r"4 s for a line of its output"):
                next(reader)
            assert fake.now == end
        assert manager.core.engine.entries[manager.get("web").vm_id].followers == []
        assert str(next(reader)) == "two"


@pytest.mark.parametrize("containment", ["tree", "group"])
def test_a_step_of_a_silent_program_ends_in_time(containment: Any) -> None:
    async def main() -> None:
        async with AsyncVMManager(SubprocessBackend(containment)) as manager:
            vm = await manager.allocate(VMConfig("web", ["sleep", "1000"]))
            reader = manager.follow(vm, timeout=0.01)
            with pytest.raises(WaitTimeoutError):
                await anext(reader)
            await manager.signal(vm, "SIGCONT")  # behind what was posted
            assert manager._core.engine.entries[vm.vm_id].followers == []

    asyncio.run(main())
    with VMManager(SubprocessBackend(containment)) as manager:
        vm = manager.allocate(VMConfig("web", ["sleep", "1000"]))
        with pytest.raises(WaitTimeoutError):
            next(manager.follow(vm, timeout=0.01))


@pytest.mark.parametrize("wrong", [{"tail": -1}, {"tail": True}, {"timeout": -1.0}])
def test_what_cannot_be_followed_is_told_by_the_call(wrong: dict[str, Any]) -> None:
    with VMManager(FakeBackend()) as manager:
        with pytest.raises(VMNotFoundError):
            manager.follow("nobody")
        manager.allocate(VMConfig("web", "x"))
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            manager.follow("web", **wrong)


@given(st.lists(st.sampled_from([b"a", b"bc\n", b"\n", b"\xc3", b"\xa9\n"])), st.integers(0, 9))
def test_the_last_whole_lines_and_what_comes_are_all(pieces: list[bytes], tail: int) -> None:
    """Read from near its end a book gives what the last ones of all its whole lines are."""
    book = LogBook(1000)
    for number, data in enumerate(pieces):
        book.add(1, ("stdout", "stderr")[number % 2], 1.0, data)
    whole, near = LineParser(), LineParser()
    lines = [line for chunk in book.chunks_after(0) for line in whole.feed(chunk)]
    chunks = near_end(book.chunks_after(0), tail)
    found = [line for chunk in chunks for line in near.feed(chunk)]
    assert (found[-tail:] if tail else []) == (lines[-tail:] if tail else [])
    assert near.finish() == whole.finish()


def bar(*, lasts: float = 60.0) -> FakeProgram:
    """A program that writes a bar, without an end of line."""
    output = [(n / 2, "stdout", f"\r{n} %") for n in range(int(2 * lasts))]
    return FakeProgram(output=output)


@pytest.mark.parametrize("keep", [0, 100, 2**20])
@pytest.mark.parametrize("is_async", [False, True])
def test_the_time_of_a_step_runs_on_while_no_line_is_whole(keep: int, is_async: bool) -> None:
    fake = FakeBackend()
    fake.program("web", bar())
    manager = VMManager(fake)
    manager.allocate(VMConfig("web", "x", log=LogPolicy(keep=keep)))

    async def step() -> None:
        await anext(AsyncVMManager.of(manager).follow("web", timeout=2.0))

    with manager, pytest.raises(WaitTimeoutError):
        asyncio.run(step()) if is_async else next(manager.follow("web", timeout=2.0))
    assert fake.now == 2.0


def test_the_time_of_a_step_is_not_begun_anew_by_a_real_bar() -> None:
    text = "while :; do printf .; sleep 0.02; done"
    with VMManager() as manager:
        vm = manager.allocate(VMConfig("web", ["sh", "-c", text]))
        with pytest.raises(WaitTimeoutError):
            next(manager.follow(vm, timeout=0.2))


FORKED = """
import asyncio, os, signal, sys
from procvm import AsyncVMManager, ForkedManagerError, VMConfig, VMManager

manager = VMManager()
vm = manager.allocate(VMConfig("web", ["sleep", "1000"]))
lines = manager.follow(vm) if sys.argv[1] == "sync" else AsyncVMManager.of(manager).follow(vm)
child = os.fork()
if child == 0:
    signal.alarm(30)
    try:
        next(lines) if sys.argv[1] == "sync" else asyncio.run(anext(lines))
    except ForkedManagerError:
        os._exit(7)
    os._exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
manager.close()
"""


@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_reader_in_a_forked_child_is_refused(face: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKED, face]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "7\n", done.stderr


def test_a_reader_that_looks_while_more_is_written_misses_nothing() -> None:
    """The number of a piece was known before the piece could be found."""
    book = LogBook(2**20)
    chunks = book._lives.setdefault(1, deque())
    book._sizes[1] = 0
    seen: list[int] = []

    class Watched(deque[Any]):
        def append(self, chunk: Any) -> None:
            seen.append(book.last_number)
            super().append(chunk)

    book._lives[1] = Watched(chunks)
    for text in (b"one\n", b"two\n"):
        book.add(1, "stdout", 1.0, text)
    assert seen == [0, 1]


def test_what_had_no_end_when_its_life_ended_is_a_line_of_that_life() -> None:
    """It comes before the lines of the next life, and is none of what comes from the call on."""
    fake = FakeBackend()
    crash = FakeProgram(output=[(0.0, "stdout", "one\ncrash")], exit_after=1.0, exit_code=1)
    again = FakeProgram(output=[(0.5, "stdout", "new\nopen"), (3.0, "stdout", "ed\n")])
    fake.program("web", crash, again)
    with VMManager(fake) as manager:
        policy = RestartPolicy(initial=1.0, jitter=0.0)
        manager.allocate(VMConfig("web", "x", restart=policy))
        all_of_it, at_once = manager.follow("web"), manager.follow("web")
        assert [str(next(all_of_it)) for _ in range(3)] == ["one", "crash", "new"]
        assert [str(line) for line in manager.logs("web")] == ["one", "crash", "new", "open"]
        assert [str(line) for line in manager.logs("web", tail=3)] == ["crash", "new", "open"]
        assert str(next(manager.follow("web", tail=0))) == "opened"
        assert [str(line) for line, _ in zip(at_once, range(4), strict=False)][1] == "crash"
    ended = speaking((0.0, "one\ntwo"), exit_after=1.0)
    with VMManager(ended) as manager:
        manager.allocate(VMConfig("web", "x"))
        manager.wait("web")
        for tail, begins in [(0, []), (1, ["two"]), (2, ["one", "two"])]:
            assert [str(line) for line in manager.follow("web", tail=tail)] == begins


def test_pieces_come_in_the_order_in_which_they_came_and_once() -> None:
    """What an earlier life wrote may arrive when the next one speaks already."""
    fake = FakeBackend()
    with VMManager(fake) as manager:
        vm = manager.allocate(VMConfig("web", "x"))
        book = manager.core.engine.book(vm.vm_id)
        assert book is not None
        for generation, data in ((1, b"a1\n"), (2, b"b1\n"), (1, b"a2 late\n")):
            book[1].add(generation, "stdout", 1.0, data)
        assert [str(line) for line in manager.follow("web")] == ["a1", "b1", "a2 late"]
        for tail in range(4):
            reader = manager.follow("web", tail=tail)
            assert [str(line) for line in reader] == ["a1", "b1", "a2 late"][3 - tail :]
            assert reader.lost == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_step_that_was_interrupted_is_followed_by_the_next(error: type[BaseException]) -> None:
    def handler(*_: object) -> None:
        raise error("mine")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with VMManager() as manager:
            vm = manager.allocate(VMConfig("silent", ["sh", "-c", "echo one; exec sleep 1000"]))
            lines = manager.follow(vm)
            assert str(next(lines)) == "one"
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(error, match="mine"):
                next(lines)
            manager.signal(vm, "SIGCONT")  # behind what was posted
            assert manager.core.engine.entries[vm.vm_id].followers == []
            manager.remove(vm)
            assert list(lines) == []
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_reader_is_closed_while_another_thread_waits_in_it() -> None:
    with VMManager() as manager:
        vm = manager.allocate(VMConfig("web", ["sleep", "1000"]))
        lines = manager.follow(vm)
        had: list[Any] = []
        reading = threading.Thread(target=lambda: had.extend(lines), daemon=True)
        reading.start()
        entry = manager.core.engine.entries[vm.vm_id]
        while not entry.followers:
            time.sleep(0.001)
        lines.close()
        lines.close()
        reading.join(30)
        assert not reading.is_alive()
        assert had == []

    async def main() -> None:
        async with AsyncVMManager() as manager:
            vm = await manager.allocate(VMConfig("web", ["sleep", "1000"]))
            lines = manager.follow(vm)
            step = asyncio.ensure_future(anext(lines))
            await asyncio.sleep(0)
            await lines.aclose()
            with pytest.raises(StopAsyncIteration):
                await asyncio.wait_for(step, 30)

    asyncio.run(main())
