"""The minimum cut against every cut there is, on each block with branches of real models."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from types import ModuleType

import pytest

from hybrid_batch.inference.model.cuts import Op, find_cuts, operations_between
from hybrid_batch.inference.model.importing.freeze import Frozen, freeze
from hybrid_batch.inference.model.importing.min_cut import Speeds, latency, least_latency
from hybrid_batch.inference.model.importing.traceable_model import trace
from hybrid_batch.inference.model.tensorflow_loader import import_keras, quiet

_MOST_SETS, _COSTS = 20_000, 4


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    return import_keras(3)


def blocks(frozen: Frozen) -> Iterator[list[Op]]:
    """What lies between neighbouring cuts of one tensor, the maker of the first at its head, where it has branches."""
    cuts = find_cuts(frozen.ops, frozen.input, frozen.output)
    tensors = [cut.boundary[0].name for cut in sorted(cuts, key=lambda cut: cut.head_macs) if not cut.is_frontier]
    for first, last in pairwise([*dict.fromkeys(tensors)]):
        ops = operations_between(frozen.ops, first, last)
        users = Counter(name for op in ops[1:] for name in set(op.inputs) if name.rpartition(":")[0] in made(ops))
        if len(ops) > 2 and max(users.values(), default=0) > 1:
            yield ops


def made(ops: Sequence[Op]) -> set[str]:
    return {op.name for op in ops}


def down_closed(ops: Sequence[Op]) -> Iterator[frozenset[str]]:
    """Every set of ops with the first, and with the maker of every input of each: each set once, by the ops that may
    still be added to it, none of which comes before the last that was."""
    within = made(ops)
    makers = [{name.rpartition(":")[0] for name in op.inputs} & within for op in ops]
    open_sets = [(frozenset({ops[0].name}), 1)]
    while open_sets:
        here, start = open_sets.pop()
        yield here
        for at in range(start, len(ops)):
            if makers[at] <= here:
                open_sets.append((here | {ops[at].name}, at + 1))


def varied(ops: Sequence[Op], chance: random.Random) -> list[Op]:
    """The same graph at other costs."""
    return [
        replace(
            op,
            macs=chance.randint(0, 50),
            outputs=tuple(spec and replace(spec, shape=(chance.randint(1, 50),)) for spec in op.outputs),
        )
        for op in ops
    ]


def is_best(ops: Sequence[Op], every: Sequence[frozenset[str]], found: frozenset[str], speeds: Speeds) -> bool:
    return found in every and latency(ops, found, speeds) == min(latency(ops, here, speeds) for here in every)


@pytest.mark.parametrize(
    ("name", "least_blocks"), [("MobileNetV2", 10), ("ResNet50", 16), ("EfficientNetB0", 9), ("DenseNet121", 50)]
)
def test_the_minimum_cut_of_every_block_is_the_best_of_all_its_cuts(keras, name, least_blocks):
    with quiet():
        frozen = freeze(trace(getattr(keras.applications, name)(weights=None, input_shape=(96, 96, 3), classes=10)))
    chance, checked = random.Random(name), 0
    for ops in blocks(frozen):
        every = list(islice(down_closed(ops), _MOST_SETS))
        assert len(every) < _MOST_SETS
        work = sum(op.macs for op in ops) or 1
        elements = max(spec.elements for op in ops for spec in op.outputs if spec is not None)
        real = Speeds(chance.randint(1, 2 * work // elements + 1), chance.randint(1, 4), 1)
        assert is_best(ops, every, least_latency(ops, ops[0].name, real), real)
        for _ in range(_COSTS):
            other, speeds = (
                varied(ops, chance),
                Speeds(chance.randint(1, 9), chance.randint(1, 9), chance.randint(0, 9)),
            )
            assert is_best(other, every, least_latency(other, ops[0].name, speeds), speeds)
        checked += 1
    assert checked >= least_blocks
