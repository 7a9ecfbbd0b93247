"""The minimum cut against every cut there is, on random graphs and on those of real models."""

import random
from collections.abc import Iterator, Sequence

import pytest

from hybrid_batch.inference.model.cuts import Op, TensorSpec, find_cuts, operations_between
from hybrid_batch.inference.model.importing.min_cut import Speeds, hull_frontiers, latency, least_latency


def random_graph(chance: random.Random) -> list[Op]:
    """Up to nine ops in topological order: the first the input, the last the output, all between them."""
    count = chance.randint(2, 9)
    inputs: list[set[int]] = [set()]
    for at in range(1, count):
        inputs.append(set(chance.sample(range(at), chance.randint(1, min(at, 3)))))
    for at in range(count - 1):  # nothing is made in vain
        if not any(at in made for made in inputs[at + 1 :]):
            inputs[chance.randint(at + 1, count - 1)].add(at)
    ports = [chance.choice((1, 1, 1, 2)) for _ in range(count)]
    ops = []
    for at in range(count):
        names = tuple(f"op{maker}:{chance.randrange(ports[maker])}" for maker in sorted(inputs[at]))
        outputs = tuple(
            None if at and chance.random() < 0.1 else TensorSpec(f"op{at}:{port}", (chance.randint(1, 50),), "FP32")
            for port in range(ports[at])
        )
        ops.append(Op(f"op{at}", names, outputs, 0 if at == 0 else chance.randint(0, 50), f"layer{at}"))
    return ops


def down_closed(ops: Sequence[Op]) -> Iterator[frozenset[str]]:
    """Every set of ops with the first, and with the maker of every input of each."""
    makers = {op.name: {name.rpartition(":")[0] for name in op.inputs} & {one.name for one in ops} for op in ops}

    def grow(at: int, here: frozenset[str]) -> Iterator[frozenset[str]]:
        if at == len(ops):
            yield here
            return
        if makers[ops[at].name] <= here:
            yield from grow(at + 1, here | {ops[at].name})
        yield from grow(at + 1, here)

    yield from grow(1, frozenset({ops[0].name}))


def random_speeds(chance: random.Random) -> Speeds:
    return Speeds(chance.randint(0, 20), chance.randint(1, 20), chance.randint(0, 20))


@pytest.mark.parametrize("seed", range(200))
def test_the_minimum_cut_is_the_best_of_all_cuts(seed):
    chance = random.Random(seed)
    ops, speeds = random_graph(chance), random_speeds(chance)
    found = least_latency(ops, "op0", speeds)
    every = list(down_closed(ops))
    assert found in every
    assert latency(ops, found, speeds) == min(latency(ops, here, speeds) for here in every)


def test_a_result_that_cannot_travel_keeps_its_users_with_its_maker():
    """Both sides of it are whole, or neither."""
    ops = [
        Op("in", (), (TensorSpec("in:0", (1,), "FP32"),)),
        Op("big", ("in:0",), (None, TensorSpec("big:1", (100,), "FP32")), 1000),
        Op("side", ("in:0",), (TensorSpec("side:0", (100,), "FP32"),), 1),
        Op("last", ("big:0", "side:0"), (TensorSpec("last:0", (1,), "FP32"),), 10),
    ]
    assert least_latency(ops, "in", Speeds(1, 2, 1)) == {"in"}
    assert least_latency(ops, "in", Speeds(1, 1, 2)) == {"in", "big", "side", "last"}


def test_a_tensor_that_feeds_many_is_sent_once():
    shared = TensorSpec("a:0", (10,), "FP32")
    ops = [
        Op("in", (), (TensorSpec("in:0", (100,), "FP32"),)),
        Op("a", ("in:0",), (shared,), 1),
        *(Op(f"b{i}", ("a:0",), (TensorSpec(f"b{i}:0", (3,), "FP32"),), 1) for i in range(4)),
        Op("end", tuple(f"b{i}:0" for i in range(4)), (TensorSpec("end:0", (1,), "FP32"),), 1000),
    ]
    assert least_latency(ops, "in", Speeds(1, 1, 0)) == {"in", "a"}


def cost(cut, speeds: Speeds) -> float:
    return cut.elements * speeds.element + cut.head_macs * speeds.head_mac + cut.tail_macs * speeds.tail_mac


@pytest.mark.parametrize("seed", range(200))
def test_with_the_corners_the_table_holds_the_best_of_all_cuts(seed):
    """Whatever the speeds: so that a plan needs no graph."""
    chance = random.Random(seed)
    ops = random_graph(chance)
    last = f"{ops[-1].name}:0"
    walk = operations_between(ops, "op0:0", last)
    cuts = find_cuts(ops, "op0:0", last)
    table = [*cuts, *hull_frontiers(walk, cuts)]
    assert len({cut.id for cut in table}) == len({cut.name for cut in table}) == len(table)
    every = list(down_closed(walk))
    for _ in range(10):
        speeds = random_speeds(chance)
        best = min(latency(walk, here, speeds) for here in every)
        local = sum(op.macs for op in walk) * speeds.head_mac
        assert min([local, *(cost(cut, speeds) for cut in table)]) == best


def test_a_waist_across_branches_that_no_walk_meets_is_found():
    """Four branches narrow before they widen; one after the other, the wide input of the last is still needed."""
    wide = TensorSpec("in:0", (100,), "FP32")
    ops = [Op("in", (), (wide,))]
    for branch in range(4):
        narrow, broad = f"narrow{branch}", f"broad{branch}"
        ops.append(Op(narrow, ("in:0",), (TensorSpec(f"{narrow}:0", (5,), "FP32"),), 1))
        ops.append(Op(broad, (f"{narrow}:0",), (TensorSpec(f"{broad}:0", (90,), "FP32"),), 100))
    ops.append(Op("end", tuple(f"broad{branch}:0" for branch in range(4)), (TensorSpec("end:0", (1,), "FP32"),), 1))
    cuts = find_cuts(ops, "in:0", "end:0")
    assert not any(cut.elements == 20 for cut in cuts)
    (waist,) = hull_frontiers(operations_between(ops, "in:0", "end:0"), cuts)
    assert (waist.id, waist.elements, waist.head_macs) == ("f001", 20, 4)
    assert [tensor.name for tensor in waist.boundary] == [f"narrow{branch}:0" for branch in range(4)]
