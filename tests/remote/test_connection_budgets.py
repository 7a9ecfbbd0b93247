"""Budgets of connections by arithmetic: bodies that arrive, replies that are not read, what closes first, log lines."""

import logging

import pytest

from hybrid_batch.inference.serving.http.connections.body_budget import BodyBudget
from hybrid_batch.inference.serving.http.connections.connection_limits import ConnectionLimits
from hybrid_batch.inference.serving.http.connections.connection_table import ConnectionTable, Spare
from hybrid_batch.inference.serving.http.connections.log_limit import LogLimit
from hybrid_batch.inference.serving.replies import Overloaded


def test_a_body_that_stalls_is_given_up_for_one_that_moves():
    now = [0.0]
    budget = BodyBudget(1000, lambda: now[0])
    evicted = []
    with budget.receive() as stalled, budget.receive() as moving, budget.receive() as new:
        stalled.evict = lambda: evicted.append("stalled")
        moving.evict = lambda: evicted.append("moving")
        budget.add(stalled, bytes(500))
        for second in range(1, 30):
            now[0] = second
            budget.add(moving, bytes(15))
        budget.add(new, bytes(300))
        assert evicted == ["stalled"]
        assert stalled.is_evicted
        assert not stalled.pieces
        with pytest.raises(TimeoutError):
            budget.add(stalled, b"more")
        assert budget.used == 29 * 15 + 300
    assert budget.used == 0


def test_bodies_that_move_are_not_given_up_and_the_new_one_is_refused():
    now = [0.0]
    budget = BodyBudget(100, lambda: now[0])
    with budget.receive() as first, budget.receive() as second:
        budget.add(first, bytes(90))
        with pytest.raises(Overloaded, match="hold 90 bytes"):
            budget.add(second, bytes(20))
        assert not first.is_evicted


def test_a_body_that_is_alone_may_have_any_size():
    budget = BodyBudget(100, lambda: 0.0)
    with budget.receive() as body:
        for _ in range(10):
            budget.add(body, bytes(100))
    assert budget.used == 0


class _Connection:
    def __init__(self, table, peer, spare=None, unread=0):
        self.peer, self._spare, self.unread_bytes, self.is_evicted = peer, spare, unread, False
        table.add(self)

    def spare(self, now):
        return self._spare

    def check(self, now):
        pass

    def evict(self):
        self.is_evicted = True


def test_connections_close_by_kind_then_peer_then_age():
    table = ConnectionTable(ConnectionLimits(), 6)
    stalled = _Connection(table, "a", (Spare.BODY_STALLED, 0.0))
    young = _Connection(table, "b", (Spare.IDLE, 9.0))
    old = _Connection(table, "c", (Spare.IDLE, 1.0))
    many = [_Connection(table, "d", (Spare.IDLE, 8.0)) for _ in range(2)]
    busy = _Connection(table, "e")
    order = []
    for _ in range(6):
        table.make_room(10.0)
        order.append([one.is_evicted for one in (*many, old, young, stalled, busy)].count(True))
    assert order == [1, 2, 3, 4, 5, 5]
    assert any(one.is_evicted for one in many)
    assert not busy.is_evicted
    table = ConnectionTable(ConnectionLimits(), 2)
    first, second = _Connection(table, "a", (Spare.NO_REQUEST, 0.0)), _Connection(table, "b", (Spare.IDLE, 5.0))
    assert table.make_room(10.0)
    assert (first.is_evicted, second.is_evicted) == (False, True)


def test_the_largest_unread_replies_are_cut_off_above_the_budget():
    table = ConnectionTable(ConnectionLimits(reply_bytes=100), 9)
    large, small = _Connection(table, "a", unread=90), _Connection(table, "b", unread=20)
    table.check_deadlines(0.0)
    assert (large.is_evicted, small.is_evicted) == (True, False)
    alone = ConnectionTable(ConnectionLimits(reply_bytes=100), 9)
    only = _Connection(alone, "a", unread=1000)
    alone.check_deadlines(0.0)
    assert not only.is_evicted, "a reply that is alone may have any size"


def test_a_remote_peer_has_half_of_the_connections_and_loopback_all():
    table = ConnectionTable(ConnectionLimits(), 8)
    for _ in range(4):
        _Connection(table, "10.0.0.1")
    assert not table.may_add("10.0.0.1", 0.0)
    assert table.may_add("10.0.0.2", 0.0)
    for _ in range(4):
        _Connection(table, "127.0.0.1")
    assert table.may_add("127.0.0.1", 0.0)


def test_dropped_lines_are_counted_in_the_next_one():
    now = [0.0]
    limit = LogLimit(2, 10.0, lambda: now[0])

    def passes(text):
        record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, text, (), None)
        return limit.filter(record) and record.getMessage()

    assert [bool(passes("lost")) for _ in range(5)] == [True, True, False, False, False]
    assert not passes("Invalid HTTP request received.")
    now[0] = 10.0
    assert passes("lost") == "lost (3 more lines were dropped)"
    assert passes("lost") == "lost"
