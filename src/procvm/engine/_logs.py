"""What programs wrote: bounded memory for the present and the previous generation."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from ..facts import LogLine

__all__ = ["Chunk", "LineParser", "LogBook", "near_end"]

_LONGEST_LINE = 2**20
_LARGEST_PIECE = 2**14
_FEW, _SMALL = 1024, 64


class Chunk(NamedTuple):
    """One piece of output, numbered from 1; ``begin`` counts all bytes that came before it."""

    number: int
    generation: int
    stream: str
    at: float
    data: bytes
    begin: int


class LineParser:
    """Makes lines of chunks; a line longer than 1 MiB comes in pieces."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, str], tuple[codecs.IncrementalDecoder, str, float]] = {}

    def feed(self, chunk: Chunk) -> list[LogLine]:
        """Return the lines that ``chunk`` completes; what an earlier life has begun is over."""
        key = (chunk.generation, chunk.stream)
        lines = self.finish(chunk.generation)
        fresh = (codecs.getincrementaldecoder("utf-8")("replace"), "", chunk.at)
        decoder, rest, _ = self._open.get(key, fresh)
        parts = (rest + decoder.decode(chunk.data)).split("\n")
        rest = parts.pop()
        if len(rest) > _LONGEST_LINE:
            parts.append(rest)
            rest = ""
        self._open[key] = (decoder, rest, chunk.at)
        return lines + [
            LogLine(part.removesuffix("\r"), chunk.stream, chunk.at, chunk.generation)
            for part in parts
        ]

    def finish(self, before: int | None = None) -> list[LogLine]:
        """Return what has no end of line yet, of lives before that one; None: of all."""
        lines = []
        for key in [key for key in self._open if before is None or key[0] < before]:
            decoder, rest, at = self._open.pop(key)
            text = (rest + decoder.decode(b"", final=True)).removesuffix("\r")
            if text:
                lines.append(LogLine(text, key[1], at, key[0]))
        return lines


class LogBook:
    """The last output of one VM; written by the loop, read by any thread."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._piece = max(1, min(_LARGEST_PIECE, keep // 4))  # what is let go of at once
        self._most = _FEW + keep // _SMALL  # of a program that writes byte by byte
        self._lives: dict[int, deque[Chunk]] = {}
        self._sizes: dict[int, int] = {}
        self._number = 0
        self.total = 0  # bytes that ever came

    @property
    def last_number(self) -> int:
        """The number of the newest chunk; 0 before the first."""
        return self._number

    def add(self, generation: int, stream: str, at: float, data: bytes) -> None:
        """Keep ``data``, and let go of the oldest beyond the bound."""
        if generation not in self._lives:
            previous = [g for g in self._lives if g == generation - 1]
            if any(g > generation for g in self._lives):
                return  # too late: two lives have begun since
            self._lives = {g: self._lives[g] for g in previous} | {generation: deque()}
            self._sizes = {g: self._sizes[g] for g in previous} | {generation: 0}
        chunks = self._lives[generation]
        self.total += len(data)
        data = data[-self._keep :] if self._keep else b""
        start = self.total - len(data)
        if not data:  # nothing is kept, and that it came is all there is to know
            self._number += 1
        for begin in range(0, len(data), self._piece):
            piece = data[begin : begin + self._piece]
            number = self._number + 1
            chunks.append(Chunk(number, generation, stream, at, piece, start + begin))
            self._number = number  # only now: who reads this number finds the piece
        self._sizes[generation] += len(data)
        while self._sizes[generation] > self._keep or len(chunks) > self._most:
            self._sizes[generation] -= len(chunks.popleft().data)

    def chunks_after(self, number: int) -> list[Chunk]:
        """Return the chunks newer than ``number``; a snapshot."""
        lives = tuple(self._lives.values())
        return [chunk for chunks in lives for chunk in chunks.copy() if chunk.number > number]

    def lines(self, tail: int | None = None, stream: str | None = None) -> list[LogLine]:
        """Return what is kept, as lines; of one ``stream`` alone, and its last ``tail`` ones."""
        chunks = self.chunks_after(0)
        if stream is not None:
            chunks = [chunk for chunk in chunks if chunk.stream == stream]
        if tail is None:
            return parsed(chunks)
        return parsed(near_end(chunks, tail))[-tail:] if tail > 0 else []


def near_end(chunks: list[Chunk], tail: int) -> list[Chunk]:
    """Return chunks that have the last ``tail`` lines, without a look at most of those before."""
    begin, ends = len(chunks), 0
    while begin and ends < tail:
        begin -= 1
        ends += chunks[begin].data.count(b"\n")
    return [*_open_at(chunks[:begin]), *chunks[begin:]]


def _open_at(chunks: list[Chunk]) -> list[Chunk]:
    """Return what each stream has written since its last end of line, oldest stream first."""
    streams = dict.fromkeys((chunk.generation, chunk.stream) for chunk in chunks)
    ended: set[tuple[int, str]] = set()
    left: list[Chunk] = []
    for chunk in reversed(chunks):
        key = (chunk.generation, chunk.stream)
        if key not in ended:
            _, end, rest = chunk.data.rpartition(b"\n")
            left.append(chunk._replace(data=rest))
            if end:
                ended.add(key)
    return [Chunk(0, *stream, 0.0, b"", 0) for stream in streams] + left[::-1]


def parsed(chunks: Iterable[Chunk]) -> list[LogLine]:
    """Return all the lines of ``chunks``, the unfinished ones last."""
    parser = LineParser()
    lines = [line for chunk in chunks for line in parser.feed(chunk)]
    return lines + parser.finish()
