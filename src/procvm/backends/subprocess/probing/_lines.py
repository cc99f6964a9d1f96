"""Log probes: a pattern over lines, finished or not, across any chunk borders."""

from __future__ import annotations

import codecs
import re

from ....probes import Log

__all__ = ["LineMatcher"]

_LONGEST = 64 * 1024


class LineMatcher:
    """Remembers whether a line of either stream has matched."""

    def __init__(self, probe: Log) -> None:
        self._pattern = re.compile(probe.pattern)
        self._open: dict[str, tuple[codecs.IncrementalDecoder, str]] = {}
        self.matched: str | None = None

    def saw(self, stream: str, data: bytes) -> None:
        """Look at more output."""
        if self.matched is not None:
            return
        fresh = (codecs.getincrementaldecoder("utf-8")("replace"), "")
        decoder, rest = self._open.get(stream, fresh)
        *lines, rest = (rest + decoder.decode(data)).split("\n")
        self._open[stream] = (decoder, rest[-_LONGEST:])
        for line in (*lines, rest):
            if self._pattern.search(line.removesuffix("\r")):  # a line may end in CRLF
                self.matched = line[:200]
                return
