"""The minimum cut compared with all cuts, on each block with branches of real models."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from types import ModuleType

import pytest

from hybrid_batch.inference.model.cuts import Op, find_cuts, operations_between
from hybrid_batch.inference.model.importing.freeze import FrozenGraph, freeze
from hybrid_batch.inference.model.importing.min_cut import UnitCosts, min_latency_partition, partition_latency
from hybrid_batch.inference.model.importing.traceable_model import wrap_keras_model
from hybrid_batch.inference.model.tensorflow_loader import import_keras, suppress_output

pytestmark = pytest.mark.slow

_MOST_SETS, _COSTS = 20_000, 4


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    return import_keras(3)


def blocks(frozen: FrozenGraph) -> Iterator[list[Op]]:
    """The ops between neighbouring single-tensor cuts, led by the producer of the first, if they have branches."""
    cuts = find_cuts(frozen.ops, frozen.input, frozen.output)
    tensors = [cut.boundary[0].name for cut in sorted(cuts, key=lambda cut: cut.head_macs) if not cut.is_multi_tensor]
    for first, last in pairwise([*dict.fromkeys(tensors)]):
        ops = operations_between(frozen.ops, first, last)
        users = Counter(name for op in ops[1:] for name in set(op.inputs) if name.rpartition(":")[0] in op_names(ops))
        if len(ops) > 2 and max(users.values(), default=0) > 1:
            yield ops


def op_names(ops: Sequence[Op]) -> set[str]:
    return {op.name for op in ops}


def down_closed(ops: Sequence[Op]) -> Iterator[frozenset[str]]:
    """Every set of ops with the first, and with the maker of every input of each: each set once, by the ops that may
    still be added to it, none of which comes before the last that was."""
    within = op_names(ops)
    producers = [{name.rpartition(":")[0] for name in op.inputs} & within for op in ops]
    open_sets = [(frozenset({ops[0].name}), 1)]
    while open_sets:
        local_ops, start = open_sets.pop()
        yield local_ops
        for index in range(start, len(ops)):
            if producers[index] <= local_ops:
                open_sets.append((local_ops | {ops[index].name}, index + 1))


def with_random_costs(ops: Sequence[Op], rng: random.Random) -> list[Op]:
    """The same graph with other costs."""
    return [
        replace(
            op,
            macs=rng.randint(0, 50),
            outputs=tuple(spec and replace(spec, shape=(rng.randint(1, 50),)) for spec in op.outputs),
        )
        for op in ops
    ]


def is_best(ops: Sequence[Op], every: Sequence[frozenset[str]], found: frozenset[str], costs: UnitCosts) -> bool:
    return found in every and partition_latency(ops, found, costs) == min(
        partition_latency(ops, local_ops, costs) for local_ops in every
    )


@pytest.mark.parametrize(
    ("name", "least_blocks"), [("MobileNetV2", 10), ("ResNet50", 16), ("EfficientNetB0", 9), ("DenseNet121", 50)]
)
def test_the_minimum_cut_of_every_block_has_the_least_latency(keras, name, least_blocks):
    with suppress_output():
        frozen = freeze(
            wrap_keras_model(getattr(keras.applications, name)(weights=None, input_shape=(96, 96, 3), classes=10))
        )
    rng, checked = random.Random(name), 0
    for ops in blocks(frozen):
        every = list(islice(down_closed(ops), _MOST_SETS))
        assert len(every) < _MOST_SETS
        work = sum(op.macs for op in ops) or 1
        elements = max(spec.elements for op in ops for spec in op.outputs if spec is not None)
        real = UnitCosts(rng.randint(1, 2 * work // elements + 1), rng.randint(1, 4), 1)
        assert is_best(ops, every, min_latency_partition(ops, ops[0].name, real), real)
        for _ in range(_COSTS):
            other, costs = (
                with_random_costs(ops, rng),
                UnitCosts(rng.randint(1, 9), rng.randint(1, 9), rng.randint(0, 9)),
            )
            assert is_best(other, every, min_latency_partition(other, ops[0].name, costs), costs)
        checked += 1
    assert checked >= least_blocks
