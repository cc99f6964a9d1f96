"""Output in bounded memory, as lines."""

from __future__ import annotations

from procvm.engine import LogBook


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


def test_tail_gives_the_last_lines() -> None:
    book = LogBook(1000)
    book.add(1, "stdout", 1.0, b"a\nb\nc\n")
    assert [line.text for line in book.lines(2)] == ["b", "c"]
    assert book.lines(0) == []


def test_one_more_byte_lets_go_of_a_small_part_alone() -> None:
    book = LogBook(2**16)
    book.add(1, "stdout", 0.0, b"x" * 2**20)
    book.add(1, "stdout", 0.0, b"y")
    kept = "".join(map(str, book.lines()))
    assert kept.endswith("xy")
    assert 2**15 < len(kept) <= 2**16
