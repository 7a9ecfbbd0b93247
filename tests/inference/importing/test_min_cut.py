"""The minimum cut compared with all cuts of random graphs."""

import random
from collections.abc import Iterator, Sequence

import pytest

from hybrid_batch.inference.model.cuts import Op, TensorSpec, find_cuts, operations_between
from hybrid_batch.inference.model.importing.min_cut import (
    UnitCosts,
    hull_cuts,
    min_latency_partition,
    partition_latency,
)


def random_graph(rng: random.Random) -> list[Op]:
    """Up to nine ops in topological order, all on paths from the first, the input, to the last, the output."""
    count = rng.randint(2, 9)
    inputs: list[set[int]] = [set()]
    for index in range(1, count):
        inputs.append(set(rng.sample(range(index), rng.randint(1, min(index, 3)))))
    for index in range(count - 1):  # nothing is produced in vain
        if not any(index in produced for produced in inputs[index + 1 :]):
            inputs[rng.randint(index + 1, count - 1)].add(index)
    ports = [rng.choice((1, 1, 1, 2)) for _ in range(count)]
    ops = []
    for index in range(count):
        names = tuple(f"op{producer}:{rng.randrange(ports[producer])}" for producer in sorted(inputs[index]))
        outputs = tuple(
            None if index and rng.random() < 0.1 else TensorSpec(f"op{index}:{port}", (rng.randint(1, 50),), "FP32")
            for port in range(ports[index])
        )
        ops.append(Op(f"op{index}", names, outputs, 0 if index == 0 else rng.randint(0, 50), f"layer{index}"))
    return ops


def down_closed(ops: Sequence[Op]) -> Iterator[frozenset[str]]:
    """Every set of ops that includes the first op, and the producers of all inputs of its ops."""
    producers = {op.name: {name.rpartition(":")[0] for name in op.inputs} & {one.name for one in ops} for op in ops}

    def grow(index: int, local_ops: frozenset[str]) -> Iterator[frozenset[str]]:
        if index == len(ops):
            yield local_ops
            return
        if producers[ops[index].name] <= local_ops:
            yield from grow(index + 1, local_ops | {ops[index].name})
        yield from grow(index + 1, local_ops)

    yield from grow(1, frozenset({ops[0].name}))


def random_costs(rng: random.Random) -> UnitCosts:
    return UnitCosts(rng.randint(0, 20), rng.randint(1, 20), rng.randint(0, 20))


@pytest.mark.parametrize("seed", range(200))
def test_the_minimum_cut_has_the_least_latency_of_all_cuts(seed):
    rng = random.Random(seed)
    ops, costs = random_graph(rng), random_costs(rng)
    found = min_latency_partition(ops, "op0", costs)
    all_local_ops = list(down_closed(ops))
    assert found in all_local_ops
    assert partition_latency(ops, found, costs) == min(
        partition_latency(ops, local_ops, costs) for local_ops in all_local_ops
    )


def test_a_tensor_that_cannot_be_sent_keeps_its_consumers_local():
    """Both sides of it are whole, or neither."""
    ops = [
        Op("in", (), (TensorSpec("in:0", (1,), "FP32"),)),
        Op("big", ("in:0",), (None, TensorSpec("big:1", (100,), "FP32")), 1000),
        Op("side", ("in:0",), (TensorSpec("side:0", (100,), "FP32"),), 1),
        Op("last", ("big:0", "side:0"), (TensorSpec("last:0", (1,), "FP32"),), 10),
    ]
    assert min_latency_partition(ops, "in", UnitCosts(1, 2, 1)) == {"in"}
    assert min_latency_partition(ops, "in", UnitCosts(1, 1, 2)) == {"in", "big", "side", "last"}


def test_a_tensor_that_feeds_many_is_sent_once():
    shared = TensorSpec("a:0", (10,), "FP32")
    ops = [
        Op("in", (), (TensorSpec("in:0", (100,), "FP32"),)),
        Op("a", ("in:0",), (shared,), 1),
        *(Op(f"b{i}", ("a:0",), (TensorSpec(f"b{i}:0", (3,), "FP32"),), 1) for i in range(4)),
        Op("end", tuple(f"b{i}:0" for i in range(4)), (TensorSpec("end:0", (1,), "FP32"),), 1000),
    ]
    assert min_latency_partition(ops, "in", UnitCosts(1, 1, 0)) == {"in", "a"}


def cost(cut, costs: UnitCosts) -> float:
    return cut.elements * costs.element + cut.head_macs * costs.head_mac + cut.tail_macs * costs.tail_mac


@pytest.mark.parametrize("seed", range(200))
def test_the_cuts_and_the_hull_corners_include_the_best_of_all_cuts(seed):
    """At all unit costs, so that a plan needs no graph."""
    rng = random.Random(seed)
    ops = random_graph(rng)
    last = f"{ops[-1].name}:0"
    walk = operations_between(ops, "op0:0", last)
    cuts = find_cuts(ops, "op0:0", last)
    table = [*cuts, *hull_cuts(walk, cuts)]
    assert len({cut.id for cut in table}) == len({cut.name for cut in table}) == len(table)
    all_local_ops = list(down_closed(walk))
    for _ in range(10):
        costs = random_costs(rng)
        best = min(partition_latency(walk, local_ops, costs) for local_ops in all_local_ops)
        local = sum(op.macs for op in walk) * costs.head_mac
        assert min([local, *(cost(cut, costs) for cut in table)]) == best


def test_a_narrow_cut_across_branches_is_found():
    """Four branches narrow and then widen. A walk runs one after the other, so the wide input stays live."""
    wide = TensorSpec("in:0", (100,), "FP32")
    ops = [Op("in", (), (wide,))]
    for branch in range(4):
        narrow, broad = f"narrow{branch}", f"broad{branch}"
        ops.append(Op(narrow, ("in:0",), (TensorSpec(f"{narrow}:0", (5,), "FP32"),), 1))
        ops.append(Op(broad, (f"{narrow}:0",), (TensorSpec(f"{broad}:0", (90,), "FP32"),), 100))
    ops.append(Op("end", tuple(f"broad{branch}:0" for branch in range(4)), (TensorSpec("end:0", (1,), "FP32"),), 1))
    cuts = find_cuts(ops, "in:0", "end:0")
    assert not any(cut.elements == 20 for cut in cuts)
    (waist,) = hull_cuts(operations_between(ops, "in:0", "end:0"), cuts)
    assert (waist.id, waist.elements, waist.head_macs) == ("f001", 20, 4)
    assert [tensor.name for tensor in waist.boundary] == [f"narrow{branch}:0" for branch in range(4)]
