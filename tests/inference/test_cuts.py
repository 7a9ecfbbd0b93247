"""Cuts of random graphs compared with all down-closed sets, and cuts of small graphs by hand."""

import math
from collections.abc import Iterator
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_batch.data.errors import CutNotFound, ModelRefused
from hybrid_batch.inference.model.cuts import Cut, Op, TensorSpec, find_cuts, match_cut

Graph = list[Op]
likely = st.sampled_from([True] * 9 + [False])


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Up to 9 ops in topological order from `op0` to the last, each a layer of its own.

    Some ops have two outputs, some outputs cannot be sent, and some ops are on no path from input to output."""
    count = draw(st.integers(2, 9))
    ops: Graph = []
    for index in range(count):
        made = [f"{op.name}:{port}" for op in ops for port in range(len(op.outputs))]
        inputs = draw(st.lists(st.sampled_from(made), min_size=1, max_size=3)) if made and draw(likely) else []
        if index == count - 1:
            used = {tensor for op in ops for tensor in op.inputs}
            inputs += [tensor for tensor in made if tensor not in used and draw(likely)]
        sizes = st.sampled_from([0, 1, 1, 1, 2, 2, 3]) if index else st.integers(4, 9)
        outputs = draw(st.lists(sizes, min_size=1, max_size=2 if index else 1))
        ops.append(
            Op(
                name=f"op{index}",
                inputs=tuple(inputs),
                outputs=tuple(
                    TensorSpec(f"op{index}:{port}", (size,), "FP32") if size or not index else None
                    for port, size in enumerate(outputs)
                ),
                macs=draw(st.integers(0, 9)),
                layer=f"layer{index}",
            )
        )
    return ops


def ancestors(ops: Graph, name: str) -> set[str]:
    by_name = {op.name: op for op in ops}
    found = {name}
    for tensor in by_name[name].inputs:
        found |= ancestors(ops, tensor.split(":")[0])
    return found


def ops_between(ops: Graph) -> Graph:
    """The ops on the paths from the first op to the last."""
    first, last = ops[0].name, ops[-1].name
    return [op for op in ops if first in ancestors(ops, op.name) and op.name in ancestors(ops, last)]


def boundary(walk: Graph, inside: set[str]) -> set[str]:
    return {tensor for op in walk if op.name not in inside for tensor in op.inputs if tensor.split(":")[0] in inside}


def all_heads(walk: Graph) -> Iterator[set[str]]:
    """Every down-closed set with the input and without the output."""
    names = {op.name for op in walk}
    for size in range(1, len(walk)):
        for chosen in combinations(walk[:-1], size):
            inside = {op.name for op in chosen}
            needed = {tensor.split(":")[0] for op in chosen for tensor in op.inputs} & names
            if walk[0].name in inside and needed <= inside:
                yield inside


def specs(ops: Graph) -> dict[str, TensorSpec | None]:
    return {f"{op.name}:{port}": spec for op in ops for port, spec in enumerate(op.outputs)}


def cuts_of(ops: Graph, first: str = "op0:0", last: str | None = None) -> tuple[Cut, ...]:
    return find_cuts(ops, first, last or f"{ops[-1].name}:0")


def summaries(cuts: tuple[Cut, ...]) -> list[tuple[frozenset[str], int, int]]:
    return [(frozenset(t.name for t in cut.boundary), cut.head_macs, cut.tail_macs) for cut in cuts]


@settings(max_examples=300)
@given(graphs(), st.randoms(use_true_random=False))
def test_every_single_tensor_cut_is_found_once_with_its_macs(ops: Graph, rng: object) -> None:
    walk = ops_between(ops)
    if walk[:1] != ops[:1]:
        with pytest.raises(ModelRefused, match="does not depend on its input"):
            cuts_of(ops)
        return
    total, known = sum(op.macs for op in walk), specs(ops)
    expected = set()
    for inside in all_heads(walk):
        tensors = boundary(walk, inside)
        if len(tensors) == 1 and known[next(iter(tensors))] is not None:
            done = sum(op.macs for op in walk if op.name in inside)
            expected.add((frozenset(tensors), done, total - done))
    shuffled = [ops[0], *rng.sample(ops[1:-1], len(ops) - 2), ops[-1]]
    for order in (ops, shuffled):
        found = summaries(tuple(cut for cut in cuts_of(order, last=f"{ops[-1].name}:0") if not cut.is_multi_tensor))
        assert len(found) == len(expected)
        assert set(found) == expected


@settings(max_examples=400)
@given(graphs())
def test_multi_tensor_cuts_of_the_walk_are_kept_unless_an_earlier_cut_beats_them(ops: Graph) -> None:
    walk = ops_between(ops)
    if walk[:1] != ops[:1]:
        return
    known, fewest, expected = specs(ops), math.inf, []
    for end in range(1, len(walk)):
        tensors = boundary(walk, {op.name for op in walk[:end]})
        if any(known[tensor] is None for tensor in tensors):
            continue
        elements = sum(known[tensor].elements for tensor in tensors)
        if len(tensors) == 1:
            fewest = min(fewest, elements)
        elif elements < fewest:
            expected.append(tensors)
    assert [{t.name for t in cut.boundary} for cut in cuts_of(ops) if cut.is_multi_tensor] == expected


@given(graphs())
def test_ids_and_names_are_unique_stable_and_in_order(ops: Graph) -> None:
    if ops_between(ops)[:1] != ops[:1]:
        return
    cuts = cuts_of(ops)
    assert cuts == cuts_of(ops)
    assert len({cut.id for cut in cuts}) == len({cut.name for cut in cuts}) == len(cuts)
    assert [cut.id for cut in cuts if not cut.is_multi_tensor] == [
        f"c{index:03d}" for index in range(sum(not cut.is_multi_tensor for cut in cuts))
    ]
    assert (cuts[0].id, [t.name for t in cuts[0].boundary]) == ("c000", ["op0:0"])
    assert [cut.head_macs for cut in cuts] == sorted(cut.head_macs for cut in cuts)


def chain(*layers_and_sizes: tuple[str, int]) -> Graph:
    ops: Graph = []
    for index, (layer, size) in enumerate(layers_and_sizes):
        spec = TensorSpec(f"{layer}/op{index}:0", (size,), "FP32")
        ops.append(Op(f"{layer}/op{index}", (f"{ops[-1].name}:0",) if ops else (), (spec,), 10, layer))
    return ops


def test_of_equal_cuts_in_a_layer_the_last_is_kept() -> None:
    ops = chain(("image", 9), ("conv", 4), ("conv", 4), ("conv", 2), ("conv", 2), ("relu", 2), ("dense", 1))
    found = cuts_of(ops, f"{ops[0].name}:0")
    assert [(cut.id, cut.name, cut.elements) for cut in found] == [
        ("c000", "image", 9),
        ("c001", "conv/op2", 4),
        ("c002", "conv", 2),
        ("c003", "relu", 2),
    ]


def test_the_input_cut_is_first_also_beside_a_layer_of_its_name() -> None:
    ops = chain(("image", 9), ("image", 9), ("dense", 1))
    assert cuts_of(ops, f"{ops[0].name}:0")[0].boundary[0].name == "image/op0:0"


def test_a_tensor_with_two_consumers_is_counted_once() -> None:
    ops = [
        Op("op0", (), (TensorSpec("op0:0", (4,), "FP32"),)),
        Op("op1", ("op0:0",), (TensorSpec("op1:0", (1,), "FP32"),), layer="a"),
        Op("op2", ("op0:0", "op0:0", "op1:0"), (TensorSpec("op2:0", (1,), "FP32"),), layer="b"),
    ]
    assert [[t.name for t in cut.boundary] for cut in cuts_of(ops)] == [["op0:0"]]


def test_match_cut_by_id_name_or_last_part_of_a_name() -> None:
    ops = chain(("image", 9), ("body/conv1", 4), ("body/conv2", 3), ("head/dense", 2), ("head/out", 1))
    cuts = cuts_of(ops, f"{ops[0].name}:0")

    def found(name: str) -> Cut:
        return match_cut(cuts, name, "m", "m.bundle")

    assert found("c002") is found("body/conv2") is found("conv2") is cuts[2]


def test_an_unknown_cut_is_reported_with_similar_names() -> None:
    cuts = cuts_of(chain(("image", 9), ("conv1", 4), ("conv2", 3), ("dense", 2)), "image/op0:0")
    with pytest.raises(CutNotFound) as caught:
        match_cut(cuts, "conv9", "mine", "./mine.bundle")
    assert str(caught.value) in {
        f"No cut named 'conv9' in mine; did you mean {near}? `hybrid-batch cuts ./mine.bundle` lists all 3."
        for near in ("'conv1' or 'conv2'", "'conv2' or 'conv1'")
    }
    with pytest.raises(CutNotFound, match=r"in digits\. `hybrid-batch cuts digits` lists all 3\.$"):
        match_cut(cuts, "zzz", "digits", "digits")
