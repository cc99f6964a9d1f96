"""A mutation fuzzer of the envelope: hostile requests, seeded, and what must hold for each.

Run as ``python tests/protocol/hostile.py [requests] [seed]``; a failure prints its request.
"""

from __future__ import annotations

import gc
import json
import math
import os
import random
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import attrs

from procvm import FakeBackend, VMManager
from procvm.engine import History
from procvm.protocol import Dispatcher, Policy, decode_response

ENVELOPES = Path(__file__).parents[1] / "envelopes"
METHODS = ("allocate_vm", "remove_vm", "reset_vm", "get_health", "get_vms")
_ROUND = 500
_SEEDS = [
    *(json.loads(p.read_text()) for p in sorted(ENVELOPES.rglob("*.request.json"))),
    *({"method": m, "args": {"vm_id": "process_name"}, "timestamp": 1.0} for m in METHODS),
    {"method": "allocate_vm", "args": {"config": {"name": "a", "command": "sleep 5"}},
     "timestamp": 1.0},
]  # fmt: skip


def _raise(*_: Any, **__: Any) -> NoReturn:
    raise SystemExit("a stranger's method was called")


_HOOKS = dict.fromkeys(
    [
        "__repr__", "__str__", "__len__", "__iter__", "__eq__", "__hash__", "__bool__", "__int__",
        "__float__", "__index__", "__getitem__", "__contains__", "__format__", "__lt__", "items",
        "keys", "values", "get", "copy", "encode", "__getattr__", "__deepcopy__", "__reduce_ex__",
    ],
    _raise,
)  # fmt: skip
_Stranger: Any = type("Stranger", (), _HOOKS)
_Dict: Any = type("Dict", (dict,), {**_HOOKS, "__hash__": None})
_List: Any = type("List", (list,), {**_HOOKS, "__hash__": None})
_Text: Any = type("Text", (str,), {k: v for k, v in _HOOKS.items() if k != "__hash__"})
_Number: Any = type("Number", (int,), {k: v for k, v in _HOOKS.items() if k != "__hash__"})
_Named: Any = type("é" * 100, (), _HOOKS)


def _deep(rng: random.Random) -> Any:
    value: Any = rng.choice(["x", {"kind": "notify"}])
    for _ in range(rng.choice([5, 19, 21, 99, 101, 2000])):
        value = rng.choice([[value], {"kind": "all_of", "probes": [value]}])
    return value


def _cyclic(rng: random.Random) -> Any:
    value: Any = rng.choice([[], {}])
    inner: Any = {"config": value}
    value.append(inner) if isinstance(value, list) else value.update(args=inner)
    return value


_MAKERS: tuple[Callable[[random.Random], Any], ...] = (
    lambda rng: rng.choice([None, True, False, 0, -1, 1, 2**31, 2**63, -(2**64), 1e308, -0.0]),
    lambda rng: rng.choice([math.nan, math.inf, -math.inf, 10**400, 10**5000, 1j, 5e-324]),
    lambda rng: rng.choice(["", " ", "\0", "\ud800", "é", "e\u0301", "'", '"', "\\", "${HOME}"]),
    lambda rng: rng.choice(["..", "/", "/dev/null", "-c", "--", "a b", "%s", "<b>", "\r\n", "*"]),
    lambda rng: rng.choice(["process_name", "a", "__class__", "close", "0" * 32, *METHODS]),
    lambda rng: rng.choice("aé\ud800 \0'") * rng.choice([255, 256, 5000, 200_000]),
    lambda rng: rng.choice([b"x", bytearray(b"x"), (), ("a",), {1, 2}, range(3), object, len]),
    lambda rng: rng.choice(
        [_Stranger(), _Named(), _Dict(a=1), _List([1]), _Text("a"), _Number(1)]
    ),
    lambda rng: iter([1, 2]),
    lambda rng: rng.choice([{}, [], {"": 0}, {1: 2}, {None: None}, {"a": {"\ud800": 1}}]),
    lambda rng: rng.choice([{"kind": "tcp", "port": 80}, {"kind": "log", "pattern": "(a+)+$"}]),
    lambda rng: rng.choice([{"kind": "http", "url": "http://[::1"}, {"kind": "call"}]),
    lambda rng: rng.choice(["always", "on-failure", {"when": "always", "limit": None}, 9, 77]),
    lambda rng: rng.choice(_SEEDS),
    lambda rng: [0] * rng.choice([1, 50, 3000]),
    lambda rng: {str(i): i for i in range(rng.choice([1, 1000]))},
    _deep,
    _cyclic,
)
_KEYS = (
    "method", "args", "timestamp", "vm_id", "config", "name", "path", "command", "env", "ready",
    "alive", "restart", "stop", "limits", "log", "inherit_env", "success_codes", "user", "kind",
    "probes", "signal", "file", "evn", "", "\ud800", 1, None, True, (1, 2), "request", "result",
)  # fmt: skip


def _mutated(rng: random.Random, value: Any) -> Any:
    """Change one thing somewhere inside of plain data; the rest stays shared."""
    if type(value) is dict and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        change = rng.random()
        if change < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if change < 0.2:
            return {**value, rng.choice(_KEYS): rng.choice(_MAKERS)(rng)}
        return {**value, key: _mutated(rng, value[key])}
    if type(value) is list and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], _mutated(rng, value[at]), *value[at + 1 :]]
    if type(value) is str and value and rng.random() < 0.4:
        at = rng.randrange(len(value))
        return (
            value[:at] + rng.choice(["", "'", "\0", "\ud800", " ", "é", value]) + value[at + 1 :]
        )
    return rng.choice(_MAKERS)(rng)


def _garbled(rng: random.Random, request: Any) -> Any:
    """Change bytes of the text that a request is, as a broken transport would."""
    data = bytearray(json.dumps(request).encode())
    for _ in range(rng.randrange(1, 4)):
        data[rng.randrange(len(data))] = rng.choice(b'"{}[],:0129eE-.truefalsn\\u \xff')
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return rng.choice([bytes(data), data.decode("latin-1"), None])


def requests(rng: random.Random) -> Iterator[Any]:
    """Yield hostile requests for ever, some of them good."""
    while True:
        request: Any = rng.choice(_SEEDS)
        if rng.random() < 0.5:
            request = {**request, "timestamp": time.time()}
        if rng.random() < 0.1:
            yield request
            continue
        if rng.random() < 0.15:
            request = _garbled(rng, request)
        for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
            request = _mutated(rng, request)
        yield request


def _carried(request: Any) -> Any:
    """Return a copy of a request that JSON carries as it is; None for any other."""
    try:
        text = json.dumps(request, allow_nan=False, ensure_ascii=False).encode().decode()
        copy = json.loads(text)
        is_whole = copy == request and text.count("[") + text.count("{") <= 90  # not too deep
    except BaseException:  # strangers raise anything
        return None
    return copy if is_whole else None


@attrs.define
class Host:
    """Dispatchers of both dialects, with a policy and without, and what they must never do."""

    manager: VMManager
    dispatchers: tuple[Dispatcher, ...]
    answered: int = 0
    succeeded: int = 0

    @classmethod
    def on(cls, manager: VMManager, *, is_open: bool = True) -> Host:
        """Put every kind of Dispatcher before a manager; ``is_open``: also without a policy.

        The history is bounded as it is; here it is short, so that what grows is a leak.
        """
        manager.core.engine.history = History(kept=100)
        policy = Policy(methods=METHODS, programs=["sleep"], env=["env*"], max_age=1.0)
        dispatchers = [
            Dispatcher(manager, dialect="documented", policy=policy),
            Dispatcher(manager, dialect="extended", policy=policy),
        ]
        if is_open:
            dispatchers += [Dispatcher(manager), Dispatcher(manager, dialect="extended")]
        return cls(manager, tuple(dispatchers))

    def ask(self, rng: random.Random, request: Any) -> None:
        """Ask, and check what holds for every answer."""
        before = _carried(request)
        answer = rng.choice(self.dispatchers).handle(request)
        json.dumps(answer, allow_nan=False, ensure_ascii=False).encode()
        assert set(answer) == {"request", "result"}, "an answer has two keys"
        assert answer["result"]["status"] in ("success", "failed")
        decode_response(answer)
        if before is not None:
            assert answer["request"] == before, "what is plain is echoed whole"
            assert request == before, "the caller's object is left alone"
        self.answered += 1
        self.succeeded += answer["result"]["status"] == "success"

    def sweep(self) -> None:
        """See that a good request still works, and take every VM away."""
        health = Dispatcher(self.manager).handle({"method": "get_health", "timestamp": 1})
        assert health["result"]["status"] == "success"
        for vm in self.manager.list():
            self.manager.remove(vm)


@attrs.frozen
class Held:
    """What the process holds at one moment; ``traced`` bytes are 0 unless somebody traces."""

    blocks: int
    traced: int
    resident: int
    threads: int
    descriptors: int

    @classmethod
    def now(cls) -> Held:
        """Look."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            sys.getallocatedblocks(),
            tracemalloc.get_traced_memory()[0],
            pages * os.sysconf("SC_PAGE_SIZE"),
            threading.active_count(),
            len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - counted alone
        )


def run(host: Host, count: int, seed: int) -> list[Held]:
    """Ask ``count`` requests; return what was held after each tenth of them."""
    rng = random.Random(seed)
    held = []
    asked = requests(rng)
    for number in range(1, count + 1):
        request = next(asked)
        try:
            host.ask(rng, request)
        except BaseException as e:
            e.add_note(f"request {number} of seed {seed}: {ascii_of(request)}")
            raise
        if number % _ROUND == 0 or number == count:
            host.sweep()
        if number % (count // 10) == 0:
            held.append(Held.now())
    return held


def ascii_of(request: Any) -> str:
    """Show a request, whatever it is."""
    try:
        return ascii(request)[:2000]
    except BaseException as e:
        return f"<{type(request)}, {type(e)}>"


def main() -> None:
    """Run it for long, and say what was held."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    begin = time.monotonic()
    tracemalloc.start()
    with VMManager(FakeBackend()) as manager:
        host = Host.on(manager)
        run(host, 2000, 0)  # what is cached is cached now
        held = run(host, count, seed)
    lines = [f"{host.answered} answered, {host.succeeded} of them with success, seed {seed}"]
    lines.append(f"{time.monotonic() - begin:.0f} s")
    lines += [
        f"{one.blocks} blocks, {one.traced / 1024:.0f} KiB traced, {one.resident / 2**20:.1f} MiB "
        f"resident, {one.threads} threads, {one.descriptors} descriptors"
        for one in held
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
