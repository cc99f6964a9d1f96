"""Hypothesis strategies for what procvm takes: configs, probes, requests, and lives of the fake.

Everything that they draw is right and may be given to procvm as it is; ``hostile_requests`` alone
draws what need not be. They shrink to the plainest case.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from typing import Any, Literal

import attrs

try:
    from hypothesis import strategies as st
except ImportError as e:  # pragma: no cover - seen in a process of its own
    raise ImportError("procvm.testing.strategies needs hypothesis: pip install hypothesis") from e

from .. import probes as kinds
from ..backends.fake import FakeProgram
from ..config import Limits, LogPolicy, RestartPolicy, StopPolicy, VMConfig, config_to
from ..errors import ConfigError, StartError

__all__ = [
    "commands", "configs", "environments", "hostile_requests", "json_values", "limits", "lives",
    "names", "probes", "programs", "requests", "restart_policies", "stop_policies",
]  # fmt: skip

_ID = re.compile(r"[0-9a-f]{32}")
_METHODS = ("allocate_vm", "remove_vm", "reset_vm", "get_health", "get_vms")
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_WORD = _TEXT.filter(bool)
_SECONDS = st.sampled_from([0.1, 1.0, 30.0, 3600.0]) | st.floats(0.1, 1e6)
_TIMES = st.sampled_from([0.0, 0.5, 1.0, 60.0]) | st.floats(0.0, 1e5)
_DEPTH = 2


def names() -> st.SearchStrategy[str]:
    """Draw names of VMs: printable, in NFC, up to 255 characters, and not the form of an id."""
    letters = st.characters(codec="utf-8", categories=["L", "N", "P", "S"]) | st.just(" ")
    texts = st.text(letters, min_size=1, max_size=60)
    return texts.map(lambda text: unicodedata.normalize("NFC", text)).filter(
        lambda text: text.isprintable() and len(text) <= 255 and not _ID.fullmatch(text)  # noqa: PLR2004 - the longest
    )


def commands() -> st.SearchStrategy[list[str]]:
    """Draw argv: words of any text, the first one not empty."""
    return st.builds(lambda first, rest: [first, *rest], _WORD, st.lists(_TEXT, max_size=4))


def environments() -> st.SearchStrategy[dict[str, str]]:
    """Draw environments: names without '=', values of any text."""
    return st.dictionaries(_WORD.filter(lambda name: "=" not in name), _TEXT, max_size=4)


def probes(*, alive: bool = False) -> st.SearchStrategy[kinds.Probe]:
    """Draw probes that are data, so none of a function.

    Args:
        alive: Whether they must make sense as a liveness probe.
    """
    return _probes(alive, _DEPTH)


def _probes(alive: bool, depth: int) -> st.SearchStrategy[kinds.Probe]:  # noqa: FBT001 - of this file
    common: Any = {
        "interval": _SECONDS, "timeout": st.none() | _SECONDS, "failures": st.integers(1, 9),
    }  # fmt: skip
    status = st.sets(st.integers(100, 599), min_size=1, max_size=3)
    some: list[st.SearchStrategy[kinds.Probe]] = [
        st.builds(kinds.Tcp, port=st.integers(1, 65535), **common),
        st.builds(kinds.Http, url=st.just("http://127.0.0.1/"), status=status, **common),
        st.builds(kinds.Unix, path=_WORD, **common),
        st.builds(kinds.File, path=_WORD, **common),
        st.builds(kinds.Command, argv=commands(), **common),
    ]
    if not alive:
        some.append(st.builds(kinds.Log, pattern=_TEXT.map(re.escape), **common))
        some.append(st.builds(kinds.Notify, **common))
    if depth:
        inner = st.lists(_probes(alive, depth - 1), min_size=1, max_size=3)
        some.append(st.builds(kinds.AllOf, probes=inner, **common))
        some.append(st.builds(kinds.AnyOf, probes=inner, **common))
    return st.one_of(some)


@st.composite
def restart_policies(draw: st.DrawFn) -> RestartPolicy:
    """Draw restart policies in which every option can take effect.

    None restarts for ever without a pause: in virtual time nothing else would come to pass.
    """
    when: Any = draw(st.sampled_from(["never", "on-failure", "always"]))
    limit = draw(st.none() | st.integers(0, 10))
    initial = draw(_SECONDS if limit is None else _TIMES)
    return RestartPolicy(
        when=when, initial=initial, factor=draw(st.floats(1.0, 10.0)),
        maximum=initial + draw(_TIMES), jitter=draw(st.floats(0.0, 0.5)), limit=limit,
        within=initial + draw(_SECONDS),
    )  # fmt: skip


def stop_policies() -> st.SearchStrategy[StopPolicy]:
    """Draw stop policies with the usual signals."""
    return st.builds(
        StopPolicy, signal=st.sampled_from(["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGKILL"]),
        grace=_TIMES, to=st.sampled_from(["main", "tree"]),
    )  # fmt: skip


def limits() -> st.SearchStrategy[Limits]:
    """Draw limits that a small program can live with."""
    return st.builds(
        Limits, memory=st.none() | st.integers(2**28, 2**40),
        cpu_time=st.none() | st.integers(60, 10**6), open_files=st.none() | st.integers(64, 1024),
        file_size=st.none() | st.integers(2**20, 2**40), core=st.none() | st.just(0),
        nice=st.none() | st.integers(0, 19),
    )  # fmt: skip


def configs(**fixed: Any) -> st.SearchStrategy[VMConfig]:
    """Draw configurations without a function and without a log file.

    Args:
        **fixed: Fields that are given: a value, or a strategy for it.
    """
    fields: dict[str, Any] = {
        "name": names(), "command": commands(), "path": st.just(".") | _WORD,
        "env": environments(), "ready": st.none() | probes(),
        "alive": st.none() | probes(alive=True), "restart": restart_policies(),
        "stop": stop_policies(), "limits": limits(),
        "log": st.builds(LogPolicy, keep=st.integers(0, 2**20)),
        "inherit_env": st.booleans() | st.just(("PATH", "HOME")),
        "success_codes": st.lists(st.integers(0, 255), max_size=3),
    }  # fmt: skip
    if unknown := fixed.keys() - {field.name for field in attrs.fields(VMConfig)}:
        why = f"is no field of a VMConfig; there are {', '.join(fields)}"
        raise ConfigError(min(unknown), fixed[min(unknown)], why)
    given = {
        name: value if isinstance(value, st.SearchStrategy) else st.just(value)
        for name, value in fixed.items()
    }
    return st.builds(VMConfig, **{**fields, **given})


@st.composite
def programs(draw: st.DrawFn) -> FakeProgram:
    """Draw one life of a program on a FakeBackend: slow starts, words, crashes, deaf ears."""
    moments = st.tuples(_TIMES, st.sampled_from(["stdout", "stderr"]), _TEXT.filter(bool))
    answers = st.tuples(_TIMES, st.booleans(), _TEXT)
    fails = draw(st.none() | st.just(StartError("it cannot be started: a fault that was drawn")))
    return FakeProgram(
        start_after=draw(_TIMES), start_error=fails, ready_after=draw(_TIMES),
        output=draw(st.lists(moments, max_size=3).map(tuple)),
        exit_after=draw(st.none() | _TIMES), exit_code=draw(st.integers(0, 255)),
        exit_signal=draw(st.none() | st.sampled_from([6, 9, 11, 15])),
        ignores=draw(st.frozensets(st.sampled_from([1, 2, 3, 15]))), stop_takes=draw(_TIMES),
        probes=draw(st.lists(answers, max_size=3).map(tuple)),
    )  # fmt: skip


def lives(*, most: int = 4) -> st.SearchStrategy[tuple[FakeProgram, ...]]:
    """Draw what a program does in one generation after the other: a schedule of faults.

    Args:
        most: How many lives at most; the last one is repeated.
    """
    return st.lists(programs(), min_size=1, max_size=most).map(tuple)


def requests(
    *, dialect: Literal["documented", "extended"] = "documented",
    vm_ids: st.SearchStrategy[str] | None = None,
) -> st.SearchStrategy[dict[str, Any]]:  # fmt: skip
    """Draw requests of the envelope that are right.

    Args:
        dialect: Whether a config has the documented keys alone, or all.
        vm_ids: Draws what remove and reset name; None: any name.
    """
    named = names() if vm_ids is None else vm_ids
    given = {} if dialect == "extended" else _documented()
    args = {
        "allocate_vm": configs(**given).map(lambda config: {"config": _data(config)}),
        "remove_vm": named.map(lambda name: {"vm_id": name}),
        "reset_vm": named.map(lambda name: {"vm_id": name}),
    }
    timestamps = st.floats(0.0, 4e9) | st.integers(0, 4 * 10**9)
    return st.one_of([
        st.fixed_dictionaries({
            "method": st.just(method), "timestamp": timestamps,
            **({"args": args[method]} if method in args else {}),
        })
        for method in _METHODS
    ])  # fmt: skip


def _documented() -> dict[str, Any]:
    bare = VMConfig("x", ["x"])
    keys = ("ready", "alive", "restart", "stop", "limits", "log", "inherit_env", "success_codes")
    return {key: getattr(bare, key) for key in keys}


def _data(config: VMConfig) -> dict[str, Any]:
    documented = {"path": config.path, "env": dict(config.env)}
    return {**config_to(config), **documented, "command": shlex.join(config.command)}


def json_values() -> st.SearchStrategy[Any]:
    """Draw whatever JSON can carry."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )


@st.composite
def hostile_requests(draw: st.DrawFn) -> Any:
    """Draw what a stranger might send: no request at all, or one with something wrong in it."""
    if draw(st.booleans()):
        return draw(json_values())
    request = draw(requests(dialect=draw(st.sampled_from(["documented", "extended"]))))
    place: dict[Any, Any] = request
    while True:
        key = draw(st.sampled_from(sorted(place)) | st.text(max_size=5))
        if isinstance(place.get(key), dict) and place[key] and draw(st.booleans()):
            place = place[key]
            continue
        if draw(st.booleans()):
            place[key] = draw(json_values())
        else:
            place.pop(key, None)
        return request
