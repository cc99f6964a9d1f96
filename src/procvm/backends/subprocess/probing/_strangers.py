"""Whether what answers a readiness probe can be the VM's: nobody is ready by a stranger's socket.

A program whose port is taken fails to bind it, and until then a stranger answers its probe: one
who listened before the start, is no part of the tree and can have nothing to do with it. Where
that is not certain the answer counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from urllib.parse import urlsplit

from ....probes import Http, Log, Notify, Probe, Tcp, Unix
from ...base import Plan
from .._members import stat_of
from ._sockets import holders_of, is_at_work, listening, network_of, sockets_of
from ._tries import Answer

__all__ = ["Strangers"]

_HERE = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0", "::"})  # noqa: S104 - asked, not bound


class Strangers:
    """Knows who listened before the start, and judges the answers of a readiness probe.

    Args:
        leaves: The parts of the probe. Where the program speaks for itself in one of them,
            nothing is judged: the others may ask for what it needs.
        plan: What is about to be started.
        pids: Return the processes of its tree; called in a probe's thread.
    """

    def __init__(
        self, leaves: tuple[Probe, ...], plan: Plan, pids: Callable[[], tuple[int, ...]]
    ) -> None:
        speaks = any(isinstance(leaf, (Log, Notify)) for leaf in leaves)
        self._pids = pids
        self._places = {} if speaks else {id(leaf): _place_of(leaf, plan) for leaf in leaves}
        self._known: dict[frozenset[int], str] = {}
        self._words = "nothing of it runs any more"
        self._before = {one: listening(place) for one, place in self._places.items()}

    def judged(self, probe: Probe, answer: Answer) -> Answer:
        """Return ``answer``, or a failure in words where a stranger has given it."""
        passed, _ = answer
        before = self._before.get(id(probe))
        if not passed or not before:
            return answer
        place = self._places[id(probe)]
        now = listening(place)
        if not now or not now <= before:
            return answer  # somebody listens since the start, most likely the program
        try:
            networks = {pid: network_of(pid) for pid in self._pids()}
            alive = [pid for pid, network in networks.items() if network]
            if not alive:
                return False, self._words  # it has ended: no answer was its own
            if {networks[pid] for pid in alive} != {network_of(os.getpid())}:
                return answer  # what it listens to cannot be seen from here
            who = self._stranger(alive, now)
        except OSError:
            return answer  # it may not be seen
        if who is None:
            return answer
        name = f"port {place}" if isinstance(place, int) else place
        whose = f"by pid {who}, which is no part of it"
        self._words = f"{name} was listened to before the start, {whose}"
        return False, self._words

    def _stranger(self, tree: list[int], sockets: frozenset[int]) -> str | None:
        """Return who holds ``sockets``, as number and name; None: he may be none."""
        held = {socket for pid in tree for socket in sockets_of(pid)}
        if held & sockets or is_at_work(held):
            return None
        if sockets not in self._known:
            holders = holders_of(sockets)  # every process is looked at, and so but once
            if not holders or holders & {*tree, *_line_of_host()}:
                return None  # systemd, a test, or a host that has a server of its own
            stat = stat_of(min(holders))
            if stat is None:
                return None
            self._known[sockets] = f"{stat.pid} ({stat.command})"
        return self._known[sockets]


def _place_of(probe: Probe, plan: Plan) -> int | str | None:
    """Return the port or the path where a probe looks for a socket of this machine."""
    if isinstance(probe, Tcp) and probe.host in _HERE:
        return probe.port
    if isinstance(probe, Http):
        url = urlsplit(probe.url)
        port = url.port or (443 if url.scheme == "https" else 80)
        return port if url.hostname in _HERE else None
    if isinstance(probe, Unix):
        return os.path.join(plan.directory, probe.path)  # noqa: PTH118 - an absolute path stays itself
    return None


def _line_of_host() -> set[int]:
    """Return this process and those that it comes from."""
    line: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        stat = stat_of(pid)
        pid = 0 if stat is None else stat.parent
    return line
