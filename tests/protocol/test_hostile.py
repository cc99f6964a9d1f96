"""Hostile requests, a few seconds of them; for long: ``python tests/protocol/hostile.py``."""

from __future__ import annotations

import hostile

from procvm import FakeBackend, SubprocessBackend, VMManager

MOST = 2000  # blocks that may be held for other reasons: interned text, caches of re


def test_hostile_requests_are_answered_and_nothing_of_them_is_kept() -> None:
    with VMManager(FakeBackend()) as manager:
        host = hostile.Host.on(manager)
        hostile.run(host, 500, 0)
        held = hostile.run(host, 2000, 1)
    assert host.succeeded > 100  # the good ones among them, so that something was done
    blocks = [one.blocks for one in held]
    assert min(blocks[5:]) - min(blocks[:5]) < MOST, blocks
    assert len({(one.threads, one.descriptors) for one in held}) == 1, held


def test_hostile_requests_to_real_programs_start_nothing_else_and_leave_nothing() -> None:
    with VMManager(SubprocessBackend()) as manager:
        host = hostile.Host.on(manager, is_open=False)
        hostile.run(host, 400, 2)
        assert host.succeeded > 10
        assert manager.list() == []
