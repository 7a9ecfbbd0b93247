"""Admission control of the HTTP server."""

from contextlib import ExitStack

import pytest

from hybrid_batch.inference.serving.http.admission import AdmissionController
from hybrid_batch.inference.serving.replies import Overloaded, ShuttingDown


def test_the_number_of_requests_is_limited():
    controller = AdmissionController(requests=1)
    with controller.admit(), pytest.raises(Overloaded, match="1 requests are pending"), controller.admit():
        pass
    with controller.admit():
        pass


def test_the_bytes_of_all_requests_are_limited():
    controller = AdmissionController(requests=2, reserved_bytes=100)
    with controller.admit() as first, controller.admit() as second:
        first.reserve(60)
        second.reserve(32)
        with pytest.raises(Overloaded, match="60 bytes"):
            second.reserve(1)
        with pytest.raises(Overloaded):
            second.reserve(1)


def test_a_single_request_may_reserve_any_number_of_bytes():
    controller = AdmissionController(requests=2, reserved_bytes=100)
    with controller.admit() as first:
        first.reserve(400)
        first.reserve(1)
        with controller.admit() as second, pytest.raises(Overloaded, match="401 bytes"):
            second.reserve(1)


def test_reserved_bytes_are_released_with_the_permit():
    controller = AdmissionController(requests=2, reserved_bytes=100)
    with controller.admit() as first:
        first.reserve(400)
    with controller.admit() as first, controller.admit() as second:
        first.reserve(60)
        second.reserve(32)
        with pytest.raises(Overloaded, match="60 bytes"):
            second.reserve(1)


def test_the_requests_of_one_client_leave_bytes_for_others():
    controller = AdmissionController(requests=9, reserved_bytes=1000)
    with ExitStack() as stack:
        greedy = [stack.enter_context(controller.admit(client="greedy")) for _ in range(3)]
        for permit in greedy[:2]:
            permit.reserve(400)
        with pytest.raises(Overloaded):
            greedy[2].reserve(1)
        others = [stack.enter_context(controller.admit(client=name)) for name in ("b", "c", None, None)]
        for permit in others:
            permit.reserve(30)
        assert not controller.is_saturated
    with controller.admit(client="greedy") as first, controller.admit(client="greedy") as second:
        first.reserve(400)
        second.reserve(400)


def test_nothing_is_admitted_during_shutdown():
    controller = AdmissionController(requests=2)
    controller.shutting_down = True
    with pytest.raises(ShuttingDown), controller.admit():
        pass
