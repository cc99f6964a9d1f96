"""Guard: a policy at work, with what it remembers of requests and of whose VMs are whose."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import attrs

from ..config import VMConfig
from ..errors import PolicyError
from ..values import VM
from ._codec import encode_request, method_of
from ._messages import AllocateVM, Request
from ._policy import Policy, look_at

__all__ = ["Guard"]

_MOST_REMEMBERED = 100_000
_MOST_GONE = 100  # as many as a manager remembers


class Guard:
    """A policy at work: what it remembers of requests and whose VMs are whose."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._lock = threading.RLock()  # held for these few fields alone, never during a verb
        self._configs: dict[str, VMConfig] = {}
        self._gone: dict[str, str] = {}  # the names of those that were ours, by vm_id
        self._reserved = 0
        self._seen: dict[bytes, float] = {}

    def look(self, request: Any) -> None:
        """Refuse a plain request by what costs nothing to see, before anything of it is made."""
        kind = method_of(request)
        if kind is None:
            return  # it is none, and told so where it is read
        if kind.method not in self._policy.methods:
            raise PolicyError("method", f"{kind.method} may not be used")
        if kind is AllocateVM:
            look_at(request.get("args"))

    def check(self, message: Request) -> Request:
        """Return a message as it may be carried out; PolicyError when it may not."""
        self._check_time(message)
        if isinstance(message, AllocateVM):
            return attrs.evolve(message, config=self._policy.check_config(message.config))
        return message

    def _check_time(self, message: Request) -> None:
        if abs(time.time() - message.timestamp) > self._policy.max_age:
            raise PolicyError("timestamp", f"is more than {self._policy.max_age:g} s from now")

    def remember(self, message: Request, *, is_refused: bool = False) -> None:
        """Refuse what came before; what is remembered is what will be done, stray keys aside.

        It is done right before that, so that what is refused, by the manager too, takes no place.
        The time is looked at again: what has taken long may be older than all that is remembered.
        """
        self._check_time(message)
        window = self._policy.replay_window or 2 * self._policy.max_age
        data = encode_request(message, dialect="extended")
        data["timestamp"] = float(data["timestamp"])
        digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).digest()
        now = time.monotonic()
        with self._lock:
            while self._seen:  # in order of age
                oldest = next(iter(self._seen))
                if self._seen[oldest] > now:
                    break
                del self._seen[oldest]
            if digest in self._seen:
                raise PolicyError("timestamp", "this very request came before")
            if is_refused:
                return
            if len(self._seen) >= _MOST_REMEMBERED:
                raise PolicyError("timestamp", "too many requests are remembered; come later")
            self._seen[digest] = now + window + 1.0

    def reserve(self, listed: Callable[[], set[str]]) -> None:
        """Reserve a place for one VM before it is started."""
        with self._lock:
            full = len(self._configs) + self._reserved >= self._policy.max_vms
            known = set(self._configs)
        alive = listed() if full else known  # a host may have removed some on its own
        with self._lock:
            for vm_id in known - alive:
                self._forget(vm_id)
            if len(self._configs) + self._reserved >= self._policy.max_vms:
                raise PolicyError("args.config", f"there are {self._policy.max_vms} VMs already")
            self._reserved += 1

    def allocated(self, vm_id: str | None, config: VMConfig) -> None:
        """Turn a reservation into a VM of ours, or give it back."""
        with self._lock:
            self._reserved -= 1
            if vm_id is not None:
                self._configs[vm_id] = config

    def own(self, vm: str, listed: Callable[[], list[VM]]) -> str:
        """Return the vm_id of a VM that this Dispatcher allocated, or that the policy names.

        Also of one that is gone, where it is among the last of those: the manager says so.
        """
        others = [one for one in listed() if self.reaches(one)] if self._policy.vms else []
        with self._lock:
            if vm in self._configs:
                return vm
            for vm_id, config in reversed(self._configs.items()):
                if config.name == vm:
                    return vm_id
            for other in others:
                if vm in (other.vm_id, other.name):
                    return other.vm_id
            for vm_id, name in reversed(self._gone.items()):
                if vm in (vm_id, name):
                    return vm_id  # never its name: that may be another's by now
        raise PolicyError("args.vm_id", "is no VM that was allocated through here")

    def is_gone(self, vm_id: str) -> bool:
        """Tell whether it is a VM of ours that is gone."""
        with self._lock:
            return vm_id in self._gone

    def reaches(self, vm: VM) -> bool:
        """Tell whether commands reach it though it was allocated elsewhere."""
        return self._policy.reaches(vm.name)

    def check_again(self, vm_id: str) -> None:
        """Raise PolicyError when a VM of ours may not be started any more, its directory moved."""
        with self._lock:
            config = self._configs.get(vm_id)
        if config is not None:
            self._policy.check_config(config)

    def removed(self, vm_id: str) -> None:
        """Forget a VM."""
        with self._lock:
            self._forget(vm_id)

    def _forget(self, vm_id: str) -> None:
        config = self._configs.pop(vm_id, None)
        if config is not None:
            self._gone[vm_id] = config.name
            if len(self._gone) > _MOST_GONE:
                del self._gone[next(iter(self._gone))]

    def visible(self, vms: list[VM]) -> list[VM]:
        """Return those VMs that questions are answered about."""
        if self.sees_all:
            return vms
        with self._lock:
            return [vm for vm in vms if vm.vm_id in self._configs or self.reaches(vm)]

    @property
    def sees_all(self) -> bool:
        """Whether questions are answered about the whole manager."""
        return self._policy.sees == "all"
