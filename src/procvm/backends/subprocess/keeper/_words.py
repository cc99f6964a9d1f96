"""What host and keeper say to each other: marshalled tuples over a SOCK_SEQPACKET pair.

The host sends one request a message; the keeper sends a tuple of facts a message, with the pipes
of those that started. A request above ``LONGEST`` travels in a memfd, as ``(BIG, id)``.
"""

from __future__ import annotations

__all__ = [
    "ABILITIES", "BASE", "BIG", "ENDED", "FAILED", "GONE", "HELLO", "LONGEST", "MARKER", "PING",
    "PONG", "QUIT", "SIGNAL", "SOON", "SPAWN", "STARTED", "STOP", "SURVIVED", "VERSION",
]  # fmt: skip

VERSION = 3
LONGEST = 32 * 1024
MARKER = b"PROCVM_VM"
ABILITIES = ("subreaper", "tag", "pidfd", "children", "base", "outermost")  # of a greeting

HELLO = "hello"  # keeper: (HELLO, version, facts); host: (HELLO, version)
BASE = "base"  # (BASE, environment): what the deltas of later spawns are laid over
SPAWN = "spawn"  # (SPAWN, id, mark, file, argv, directory, uses_base, delta, stop, setup)
STOP = "stop"  # (STOP, id, grace)
SIGNAL = "signal"  # (SIGNAL, id, number, to)
SOON = "soon"  # (SOON,): a SPAWN is about to follow; to be woken by it is all that it is for
PING = "ping"  # (PING,)
QUIT = "quit"  # (QUIT,)
BIG = "big"  # (BIG, id) and a memfd with the request, a SPAWN

STARTED = "started"  # (STARTED, id, pid, tag), and the read ends of stdout and stderr
FAILED = "failed"  # (FAILED, id, errno, step)
ENDED = "ended"  # (ENDED, id, code, signal, tree_gone)
GONE = "gone"  # (GONE, id)
SURVIVED = "survived"  # (SURVIVED, id, ((pid, command), ...))
PONG = "pong"  # (PONG,)
