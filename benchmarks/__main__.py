"""procvm beside the others, interleaved in one run: a table, and a chart in SVG.

Run as ``python -m benchmarks [rounds] [--svg FILE] [--only NAME]``; install the extra ``bench``
for mirakuru, pytest-xprocess, supervisor and circus.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import statistics
import time
from collections import defaultdict
from pathlib import Path

from .bare import Contender, bare
from .chart import chart
from .loop_time import loop_time
from .others import others

COLUMNS = ("start", "stop", "exit seen")
Figures = dict[str, dict[str, list[float]]]


def one_round(contender: Contender, figures: dict[str, list[float]]) -> None:
    begin = time.perf_counter()
    contender.start()
    figures["start"].append(time.perf_counter() - begin)
    contender.settle()
    started = time.perf_counter()
    contender.stop()
    figures["stop"].append(time.perf_counter() - started)
    if contender.sees:
        pid = contender.start()
        killed = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        contender.see()
        figures["exit seen"].append(time.perf_counter() - killed)


def measured(contenders: list[Contender], rounds: int) -> Figures:
    figures: Figures = {one.name: defaultdict(list) for one in contenders}
    with contextlib.ExitStack() as stack:
        for one in contenders:
            stack.enter_context(one)
            one_round(one, defaultdict(list))  # the first of all is no figure
        for number in range(rounds):
            for one in contenders:
                if number % one.every == 0:
                    one_round(one, figures[one.name])
    return figures


def table(rows: dict[str, dict[str, float]]) -> str:
    lines = ["| | " + " | ".join(f"{column} ms" for column in COLUMNS) + " |", "| --- " * 4 + "|"]
    for name, row in rows.items():
        cells = [f"{row[column]:.3g}" if column in row else "when asked" for column in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=100)
    parser.add_argument("--svg", type=Path, help="write the chart there")
    parser.add_argument("--only", action="append", help="a contender, several times for several")
    asked = parser.parse_args()
    installed, absent = others()
    wanted = [one for one in [*bare(), *installed] if not asked.only or one.name in asked.only]
    figures = measured(wanted, asked.rounds)
    rows = {
        name: {column: statistics.median(values) * 1e3 for column, values in columns.items()}
        for name, columns in figures.items()
    }
    python = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"{os.cpu_count()} processors, {platform.platform()}, {python}")
    print(f"load {os.getloadavg()[0]:.1f}, {asked.rounds} rounds, medians\n")
    print(table({name: {c: row[c] for c in COLUMNS if c in row} for name, row in rows.items()}))
    if absent:
        print(f"\nnot installed: {', '.join(absent)}")
    print(f"\n{loop_time()}")
    if asked.svg:
        asked.svg.write_text(chart(rows, COLUMNS, "ms"), encoding="utf-8")


if __name__ == "__main__":
    main()
