from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procvm import (
    ConfigError,
    FakeBackend,
    Limits,
    LogPolicy,
    PolicyError,
    RestartPolicy,
    StopPolicy,
    VMConfig,
    VMManager,
    probes,
)
from procvm.protocol import Client, Dispatcher, Policy

ALL = ("allocate_vm", "remove_vm", "reset_vm", "get_health", "get_vms")
SLEEP = os.path.abspath(shutil.which("sleep") or "/bin/sleep")  # noqa: PTH100 - links stay


@pytest.fixture
def manager() -> Iterator[VMManager]:
    with VMManager(FakeBackend()) as made:
        yield made


def _policy(**more: Any) -> Policy:
    return Policy(**{"methods": ALL, "programs": ["sleep"], **more})


def _allocate(name: str = "web", command: str = "sleep 5", **more: Any) -> dict[str, Any]:
    config = {"name": name, "command": command, **more}
    return {"method": "allocate_vm", "args": {"config": config}, "timestamp": time.time()}


def _on(method: str, vm_id: str) -> dict[str, Any]:
    return {"method": method, "args": {"vm_id": vm_id}, "timestamp": time.time()}


def _denied(response: dict[str, Any]) -> str:
    error: dict[str, str] = response["result"]["error"]
    assert error["code"] == "policy"
    return error["field"]


def test_a_policy_that_names_nothing_allows_nothing(manager: VMManager) -> None:
    handle = Dispatcher(manager, dialect="extended", policy=Policy()).handle
    assert _denied(handle(_allocate())) == "method"
    assert _denied(handle({"method": "get_health", "timestamp": time.time()})) == "method"
    assert manager.list() == []


def test_what_is_named_is_allowed(manager: VMManager) -> None:
    handle = Dispatcher(manager, dialect="extended", policy=_policy()).handle
    assert handle(_allocate())["result"]["status"] == "success"
    assert handle(_on("reset_vm", "web"))["result"]["status"] == "success"
    assert handle(_on("remove_vm", "web"))["result"]["status"] == "success"


def test_the_documented_dialect_says_only_that_it_failed(manager: VMManager) -> None:
    result = Dispatcher(manager, policy=Policy()).handle(_allocate())["result"]
    assert result == {"status": "failed", "message": "process failed to start"}


@pytest.mark.parametrize("command", ["sh -c x", SLEEP + "x", "./sleep 5", "nothing-like-it"])
def test_another_program_is_denied(command: str) -> None:
    with pytest.raises(PolicyError) as caught:
        _policy().check_config(VMConfig("web", command))
    assert caught.value.path == "args.config.command"


def test_a_program_may_be_named_by_its_file() -> None:
    _policy(programs=[SLEEP]).check_config(VMConfig("web", "sleep 5"))
    _policy().check_config(VMConfig("web", [SLEEP, "5"]))
    _policy(programs=[sys.executable]).check_config(VMConfig("web", [sys.executable, "-V"]))


def test_the_file_that_path_names_decides_and_not_the_first_word(tmp_path: Path) -> None:
    other = tmp_path / "sleep"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    with pytest.raises(PolicyError):
        _policy(roots=[str(tmp_path)]).check_config(
            VMConfig("web", ["sleep", "5"], path=str(other))
        )


def test_one_file_of_many_names_runs_under_the_allowed_name_alone(tmp_path: Path) -> None:
    box, ls, sh = (tmp_path / name for name in ("box", "ls", "sh"))
    box.write_text("#!/bin/sh\n")
    box.chmod(0o755)
    ls.symlink_to(box)
    sh.symlink_to(box)
    policy = _policy(programs=[str(ls)], roots=[str(tmp_path), "."])
    policy.check_config(VMConfig("web", [str(ls)]))
    for config in (VMConfig("web", [str(sh)]), VMConfig("web", "sh -c x", path=str(ls))):
        with pytest.raises(PolicyError):
            policy.check_config(config)


def test_another_path_in_the_environment_finds_no_other_program(tmp_path: Path) -> None:
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    (tmp_path / "sleep").chmod(0o755)
    config = VMConfig("web", "sleep 5", env={"PATH": str(tmp_path)})
    for env in (["PATH"], ["*"], ["P*"]):
        with pytest.raises(PolicyError):
            _policy(env=env).check_config(config)


def test_only_named_variables_may_be_set() -> None:
    policy = _policy(env=["APP_*", "LANG"])
    policy.check_config(VMConfig("web", "sleep 5", env={"APP_A": "1", "LANG": "C"}))
    for name in ("OTHER", "app_a", "PATH"):
        with pytest.raises(PolicyError):
            policy.check_config(VMConfig("web", "sleep 5", env={name: "x"}))
    for env, is_fine in ((["*"], False), (["LD_*"], False), (["LD_PRELOAD"], True)):
        config = VMConfig("web", "sleep 5", env={"LD_PRELOAD": "x"})
        if is_fine:
            _policy(env=env).check_config(config)
        else:
            with pytest.raises(PolicyError):
                _policy(env=env).check_config(config)


def test_a_path_lies_in_the_roots_its_links_resolved(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "root-not"
    root.mkdir()
    outside.mkdir()
    (root / "link").symlink_to(outside)
    policy = _policy(roots=[str(root)])
    policy.check_config(VMConfig("web", "sleep 5", path=str(root)))
    for path in (outside, root / "link", root / "..", Path()):
        with pytest.raises(PolicyError) as caught:
            policy.check_config(VMConfig("web", "sleep 5", path=str(path)))
        assert caught.value.path == "args.config.path"


@pytest.mark.parametrize(
    "more",
    [{"user": 0}, {"limits": Limits(memory=1)}, {"ready": probes.log("x")},
     {"ready": probes.tcp(80, "10.0.0.1")}, {"alive": probes.http("http://example.org/")},
     {"ready": probes.http("http://localhost.example.org/")}, {"alive": probes.file("/etc/x")},
     {"ready": probes.any_of(probes.tcp(80), probes.command(["sh", "-c", "x"]))},
     {"ready": probes.call(list)}, {"log": LogPolicy(file="x")}, {"log": LogPolicy(keep=10**12)},
     {"log": LogPolicy(file="/x.log")}, {"log": LogPolicy(file="x.log", rotate=1)},
     {"log": LogPolicy(file="x.log", backups=10**9)},
     {"stop": StopPolicy(grace=61.0)},
     {"restart": RestartPolicy("always", initial=0.01, limit=None)},
     {"restart": RestartPolicy("always", initial=0.01, maximum=0.01, limit=101)},
     {"restart": RestartPolicy(initial=0.01, within=1.0)},
     {"ready": probes.tcp(80, interval=0.01)}, {"alive": probes.tcp(80, timeout=301.0)},
     {"ready": probes.all_of(probes.tcp(80, interval=0.01))},
     {"restart": RestartPolicy("always", jitter=1.0, limit=None)},
     {"env": {}, "path": "a/" * 3000}, {"inherit_env": ["x" * 2**17]},
     {"success_codes": [0] * 257}, {"log": LogPolicy(file="a/" * 3000 + ".log")},
     {"log": LogPolicy(file="x" * 300 + ".log")}],
)  # fmt: skip
def test_what_no_policy_can_name_is_denied(more: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        _policy().check_config(VMConfig("web", "sleep 5", **more))


@pytest.mark.parametrize(
    "more",
    [{"log": LogPolicy(keep=2**24)}, {"stop": StopPolicy("SIGINT", grace=60.0, to="tree")},
     {"restart": "always"}, {"restart": RestartPolicy(limit=None)},
     {"restart": RestartPolicy(limit=3, initial=0.0)},
     {"ready": probes.tcp(80, interval=0.1, timeout=300.0)}, {"success_codes": [0, 3]},
     {"inherit_env": True}],
)  # fmt: skip
def test_what_costs_no_more_than_a_bound_is_allowed(more: dict[str, Any]) -> None:
    config = VMConfig("web", "sleep 5", **more)
    checked = _policy().check_config(config)
    (name,) = more
    assert getattr(checked, name) == getattr(config, name)


def test_a_request_writes_to_no_program(manager: VMManager, tmp_path: Path) -> None:
    for name in ("tool.sh", "tool.log"):
        tool = tmp_path / name
        tool.write_text("#!/bin/sh\n")
        tool.chmod(0o755)
    (tmp_path / "link.log").symlink_to(tmp_path / "tool.sh")
    (tmp_path / "folder.log").mkdir()
    policy = _policy(programs=["echo", str(tool)], roots=[str(tmp_path)])
    handle = Dispatcher(manager, dialect="extended", policy=policy).handle
    (tmp_path / "old.log.1").symlink_to(tool)  # what a rotation would replace
    names = "tool.sh", "tool.log", "link.log", "folder.log", "old.log", "new.py", ".profile"
    for name in names:
        log = {"file": str(tmp_path / name)}
        request = _allocate(command="echo harm", path=str(tmp_path), log=log)
        assert _denied(handle(request)) == "args.config.log.file", name
    assert tool.read_text() == "#!/bin/sh\n"


def test_what_a_request_may_not_ask_for_is_not_even_made(manager: VMManager) -> None:
    """A pattern is not compiled, of many probes none is made, and no long text is split."""
    handle = Dispatcher(manager, dialect="extended", policy=_policy()).handle
    slow = {"kind": "log", "pattern": "("}
    many = [{"kind": "tcp", "port": 80}] * 100_000
    long = {"kind": "command", "argv": "sleep " * 1000}
    several = [{"kind": "all_of", "probes": [slow]}, {"kind": "any_of", "probes": many}]
    for probe in (slow, long, *several):
        for field in ("ready", "alive"):
            more: dict[str, Any] = {field: probe}
            answer = handle(_allocate(**more))["result"]
            assert answer["error"]["code"] == "policy"
            assert answer["error"]["field"] == f"args.config.{field}"
    closed = Dispatcher(manager, dialect="extended", policy=_policy(methods=["get_health"]))
    assert _denied(closed.handle(_allocate(ready=slow))) == "method"


def test_the_text_of_a_probe_s_command_is_held_to_the_programs(manager: VMManager) -> None:
    handle = Dispatcher(manager, dialect="extended", policy=_policy()).handle
    ask = {"kind": "command", "argv": "sh -c 'echo harm'"}
    assert _denied(handle(_allocate(ready=ask))) == "args.config.ready"
    taken = handle(_allocate(ready={**ask, "argv": "sleep 0"}))["result"]
    assert taken["status"] == "success"


def test_a_program_named_by_path_runs_in_the_roots_as_well(tmp_path: Path) -> None:
    tool = tmp_path / "where"
    shutil.copy(shutil.which("pwd") or "/bin/pwd", tool)
    policy = _policy(programs=[str(tool)], roots=[str(tmp_path)])
    with VMManager() as manager:
        handle = Dispatcher(manager, dialect="extended", policy=policy).handle
        answer = handle(_allocate(command="where -P", path=str(tool)))
        assert answer["result"]["status"] == "success", answer
        manager.wait("web")
        assert [str(line) for line in manager.logs("web")] == [os.path.realpath(tmp_path)]


def test_what_takes_long_is_not_carried_out_late(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what is older than all that is remembered would come a second time."""
    dispatcher = Dispatcher(manager, dialect="extended", policy=_policy(max_age=1.0))
    now, looked = time.time(), 0

    def clock() -> float:
        nonlocal looked
        looked += 1
        return now if looked == 1 else now + 2.0

    request = _allocate()
    monkeypatch.setattr("procvm.protocol._guard.time.time", clock)
    assert _denied(dispatcher.handle(request)) == "timestamp"
    assert manager.list() == []


def test_requests_for_nothing_of_ours_take_no_place(
    manager: VMManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procvm.protocol._guard._MOST_REMEMBERED", 3)
    handle = Dispatcher(manager, dialect="extended", policy=_policy()).handle
    assert handle(_allocate())["result"]["status"] == "success"
    for number in range(10):
        assert _denied(handle(_on("remove_vm", f"nobody{number}"))) == "args.vm_id"
    assert handle(_on("remove_vm", "web"))["result"]["status"] == "success"


def test_a_request_writes_a_log_in_the_roots(tmp_path: Path) -> None:
    policy = _policy(programs=["echo"], roots=[str(tmp_path)])
    with VMManager() as manager:
        handle = Dispatcher(manager, dialect="extended", policy=policy).handle
        for name in ("one", "two"):  # also to one that is there
            log = {"file": str(tmp_path / "web.log")}
            request = _allocate(name, command=f"echo {name}", path=str(tmp_path), log=log)
            assert handle(request)["result"]["status"] == "success"
            manager.wait(name)
    assert (tmp_path / "web.log").read_text() == "one\ntwo\n"


def test_probes_of_the_loopback_and_of_allowed_programs_are_allowed() -> None:
    ready = probes.all_of(
        probes.tcp(80), probes.http("http://[::1]:80/"), probes.command(["sleep", "0"])
    )
    _policy().check_config(VMConfig("web", "sleep 5", ready=ready))


def test_a_replay_is_denied_also_with_stray_keys(manager: VMManager) -> None:
    handle = Dispatcher(manager, dialect="extended", policy=_policy()).handle
    request = _allocate()
    assert handle(request)["result"]["status"] == "success"
    handle(_on("remove_vm", "web"))
    assert _denied(handle(request)) == "timestamp"
    assert _denied(handle({**request, "x": 1, "args": {**request["args"], "y": 2}})) == "timestamp"
    assert manager.list() == []


def test_questions_may_come_again(manager: VMManager) -> None:
    handle = Dispatcher(manager, dialect="extended", policy=_policy()).handle
    request = {"method": "get_health", "timestamp": time.time()}
    assert [handle(request)["result"]["status"] for _ in range(2)] == ["success"] * 2


@pytest.mark.parametrize("away", [-1000.0, 1000.0])
def test_an_old_or_early_request_is_denied(manager: VMManager, away: float) -> None:
    handle = Dispatcher(manager, dialect="extended", policy=_policy()).handle
    request = _allocate()
    request["timestamp"] += away
    assert _denied(handle(request)) == "timestamp"


def test_only_ones_own_vms_can_be_reached(manager: VMManager) -> None:
    manager.allocate(VMConfig("host", "sleep 5"))
    handle = Dispatcher(manager, dialect="extended", policy=_policy()).handle
    for vm in ("host", manager.get("host").vm_id):
        assert _denied(handle(_on("remove_vm", vm))) == "args.vm_id"
        assert _denied(handle(_on("reset_vm", vm))) == "args.vm_id"
    assert [vm.name for vm in manager.list()] == ["host"]


def test_ones_own_vm_that_is_gone_is_told_so_and_no_other_of_its_name(manager: VMManager) -> None:
    dispatcher = Dispatcher(manager, dialect="extended", policy=_policy())
    handle = dispatcher.handle
    vm_id = handle(_allocate("nap"))["result"]["vm_id"]
    assert handle(_on("remove_vm", "nap"))["result"]["status"] == "success"
    stranger = manager.allocate(VMConfig("nap", "sleep 5"))  # the host's own
    for vm in ("nap", vm_id):
        for method in ("remove_vm", "reset_vm"):
            error = handle(_on(method, vm))["result"]["error"]
            assert error["code"] == "vm-not-found"
            assert "'nap' was removed" in error["message"]
    assert manager.get("nap") == stranger
    guard = dispatcher._guard
    assert guard is not None
    assert len(guard._seen) == 2  # what the manager refuses takes no place
    assert _denied(handle(_on("remove_vm", stranger.vm_id))) == "args.vm_id"


def test_what_is_denied_is_named_as_it_was_asked_for(manager: VMManager, tmp_path: Path) -> None:
    policy = _policy(roots=[str(tmp_path)])
    handle = Dispatcher(manager, dialect="extended", policy=policy).handle
    words = [
        handle(_allocate(**more))["result"]["error"]["message"]
        for more in (
            {"command": "id -u", "path": str(tmp_path)},
            {"path": "/etc"},
            {"path": str(tmp_path), "log": {"file": "/etc/web.log"}},
        )
    ]
    outside = "lies outside the directories that requests may use (a relative one is the host's)"
    assert words == [
        "args.config.command: 'id' is no program that requests may run",
        f"args.config.path: '/etc' {outside}",
        f"args.config.log.file: '/etc/web.log' {outside}",
    ]


def test_there_are_no_more_vms_than_allowed(manager: VMManager) -> None:
    handle = Dispatcher(manager, dialect="extended", policy=_policy(max_vms=2)).handle
    manager.allocate(VMConfig("host", "sleep 5"))
    for name in ("a", "b"):
        assert handle(_allocate(name))["result"]["status"] == "success"
    assert _denied(handle(_allocate("c"))) == "args.config"
    manager.remove("a")  # behind its back
    assert handle(_allocate("d"))["result"]["status"] == "success"
    assert _denied(handle(_allocate("e"))) == "args.config"


def test_a_start_that_failed_takes_no_place(manager: VMManager) -> None:
    handle = Dispatcher(manager, dialect="extended", policy=_policy(max_vms=1)).handle
    manager.allocate(VMConfig("host", "sleep 5"))
    failed = handle(_allocate("host"))["result"]
    assert failed["error"]["code"] == "duplicate-name"
    assert handle(_allocate("a"))["result"]["status"] == "success"


@pytest.mark.parametrize(
    "wrong",
    [{"methods": "get_vms"}, {"methods": ["x"]}, {"programs": [1]}, {"roots": [""]}, {"env": None},
     {"max_vms": True}, {"max_vms": -1}, {"max_age": 0}, {"max_age": float("nan")},
     {"max_age": 60, "replay_window": 60}, {"sees": "none"}, {"sees": []}],
)  # fmt: skip
def test_a_wrong_policy_is_a_config_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Policy(**wrong)


def test_a_dispatcher_takes_no_other_policy(manager: VMManager) -> None:
    with pytest.raises(ConfigError):
        Dispatcher(manager, policy={})  # type: ignore[arg-type] # that is the test


def test_questions_are_about_all_vms_or_about_ones_own(manager: VMManager) -> None:
    backend = manager.backend
    assert isinstance(backend, FakeBackend)
    manager.allocate(VMConfig("host", "sleep 5"))
    seen = {}
    for sees in ("all", "own"):
        handle = Dispatcher(manager, policy=_policy(sees=sees)).handle
        assert handle(_allocate(sees))["result"]["status"] == "success"
        vms = handle({"method": "get_vms", "timestamp": time.time()})["result"]["process"]
        seen[sees] = [vm["name"] for vm in vms]
        backend.crash("host")
        manager.wait("host")
        health = handle({"method": "get_health", "timestamp": time.time()})["result"]["health"]
        assert health == {"all": "bad", "own": "good"}[sees]
        manager.reset("host")
    assert seen == {"all": ["host", "all"], "own": ["own"]}


def test_ones_own_health_is_told(manager: VMManager) -> None:
    handle = Dispatcher(manager, policy=_policy(sees="own")).handle
    handle(_allocate())
    assert isinstance(manager.backend, FakeBackend)
    manager.backend.crash("web")
    manager.wait("web")
    result = handle({"method": "get_health", "timestamp": time.time()})["result"]
    assert result == {"status": "success", "health": "bad"}


def test_what_a_policy_names_in_vain_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigError, match="programs='bin/sleep': must be an absolute path"):
        _policy(programs=["bin/sleep"])
    assert not caplog.messages
    _policy(programs=[SLEEP, "sleep"], roots=[str(tmp_path)])
    assert not caplog.messages
    gone = str(tmp_path / "gone")
    _policy(programs=["slep", gone], roots=[gone])
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        "programs='slep': is not to be found, so far",
        f"programs={gone!r}: is not to be found, so far",
        f"roots={gone!r}: is no directory, so far",
    ]


@pytest.mark.parametrize(
    "policy", [None, _policy(), _policy(sees="own")], ids=["no", "all", "own"]
)
def test_a_mistyped_name_is_told_no_other(manager: VMManager, policy: Policy | None) -> None:
    handle = Dispatcher(manager, dialect="extended", policy=policy).handle
    manager.allocate(VMConfig("secret-web", "sleep 5"))
    assert handle(_allocate("mine"))["result"]["status"] == "success"
    manager.remove("mine")  # so that one of the policy's own is asked for, and not there
    for asked in ("secret-wbe", "mine"):
        for method in ("remove_vm", "reset_vm"):
            answer = handle(_on(method, asked))
            assert answer["result"]["status"] == "failed"
            assert "secret-web" not in json.dumps(answer)


def asked(dispatcher: Dispatcher, method: str, vm: str) -> Any:
    request = {"method": method, "args": {"vm_id": vm}, "timestamp": time.time()}
    return dispatcher.handle(request)["result"]


def test_commands_reach_the_vms_of_the_host_that_a_policy_names() -> None:
    policy = Policy(methods=("reset_vm", "remove_vm", "get_vms"), vms=("web", "w-*"), sees="own")
    with VMManager(FakeBackend()) as manager:
        for name in ("web", "w-1", "db"):
            manager.allocate(VMConfig(name, "sleep 5"))
        dispatcher = Dispatcher(manager, dialect="extended", policy=policy)
        client = Client(dispatcher.handle, dialect="extended")
        assert [one.name for one in client.list()] == ["web", "w-1"]
        client.reset("web")
        client.reset(client.list()[1])
        assert {vm.name: vm.generation for vm in manager.list()} == {"web": 2, "w-1": 2, "db": 1}
        client.remove(manager.get("w-1").vm_id)
        with pytest.raises(PolicyError, match="no VM that was allocated through here"):
            client.remove("db")
        with pytest.raises(PolicyError, match="no VM that was allocated through here"):
            client.reset("w-1")
        assert [vm.name for vm in manager.list()] == ["web", "db"]


def test_two_dialects_behind_one_policy_reach_the_same() -> None:
    policy = Policy(methods=("allocate_vm", "reset_vm"), programs=("sleep",), vms=("*",))
    with VMManager(FakeBackend()) as manager:
        one = Dispatcher(manager, policy=policy)
        other = Dispatcher(manager, dialect="extended", policy=policy)
        Client(one.handle).allocate({"name": "nap", "command": "sleep 5"})
        assert asked(other, "reset_vm", "nap")["status"] == "success"
        again = asked(one, "reset_vm", "nap")
        assert again["status"] == "success", again


def test_a_reset_of_the_hosts_is_refused_when_it_comes_again() -> None:
    policy = Policy(methods=("reset_vm",), vms=("web",))
    with VMManager(FakeBackend()) as manager:
        manager.allocate(VMConfig("web", "sleep 5"))
        dispatcher = Dispatcher(manager, policy=policy)
        request = {"method": "reset_vm", "args": {"vm_id": "web"}, "timestamp": time.time()}
        assert dispatcher.handle(request)["result"]["status"] == "success"
        assert dispatcher.handle(request)["result"]["status"] == "failed"
        assert manager.get("web").generation == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"methods": ("reset_vm",)}, "reset_vm.*can reach nothing"),
        ({"methods": ("remove_vm", "get_vms")}, "remove_vm.*can reach nothing"),
        ({"methods": ("allocate_vm",)}, "no programs to allow"),
        ({"methods": ("reset_vm",), "vms": ("web",)}, None),
        ({"methods": ("get_vms", "get_health")}, None),
    ],
)
def test_a_policy_that_permits_nothing_is_warned_of(
    given: dict[str, Any], words: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    Policy(**given)
    assert bool(caplog.text) == bool(words)
    assert words is None or re.search(words, caplog.text)


@pytest.mark.parametrize("wrong", [None, {}, "manager", FakeBackend()])
def test_a_dispatcher_of_no_manager_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="must be a VMManager"):
        Dispatcher(wrong)
