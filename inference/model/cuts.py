"""The cuts of a graph: the places where it divides into a head and a tail.

A cut is a down-closed set of the ops that depend on the input. Its boundary is the set of tensors that are produced
inside and consumed outside, each counted once. One walk in topological order passes every single-tensor cut: an op
on all paths from input to output is a dominator, so in any order its ancestors precede it and its descendants follow.

A multi-tensor cut on the walk is kept only if it has fewer elements than every single-tensor cut before it. Any other
multi-tensor cut loses at all speeds of device, link and cloud: to the earlier cut if the cloud is faster per
operation, and to the fully local run if it is slower. Cuts across branches that the walk does not pass are found by
`importing.min_cut`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from heapq import heapify, heappop, heappush
from itertools import pairwise

from hybrid_batch.data.errors import CutNotFound, ModelRefused

INPUT_CUT = "c000"
MAX_TENSORS = 64  # of a boundary, and therefore of a frame


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor of the graph: its name (`scope/op:0`), its shape without the batch, its Open Inference datatype."""

    name: str
    shape: tuple[int, ...]
    datatype: str

    @property
    def elements(self) -> int:
        """Elements per image."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Op:
    """A node of the graph.

    `inputs` are tensor names. `outputs` has one entry per port; it is None if the tensor has no leading batch, no
    static shape or a datatype that the protocol lacks. `macs` are multiply-accumulates per image. `layer` is the
    layer's name as the user knows it."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[TensorSpec | None, ...]
    macs: int = 0
    layer: str = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """A place to divide the graph. `head_macs` and `tail_macs` are multiply-accumulates per image."""

    id: str
    name: str
    boundary: tuple[TensorSpec, ...]
    head_macs: int
    tail_macs: int

    @property
    def elements(self) -> int:
        """Elements of the boundary per image."""
        return sum(tensor.elements for tensor in self.boundary)

    @property
    def is_multi_tensor(self) -> bool:
        """Whether the boundary has more than one tensor."""
        return len(self.boundary) > 1

    @property
    def head_share(self) -> float:
        """The head's share of the multiply-accumulates, 0 to 1."""
        total = self.head_macs + self.tail_macs
        return self.head_macs / total if total else 0.0


def find_cuts(ops: Sequence[Op], input_tensor: str, output_tensor: str) -> tuple[Cut, ...]:
    """Find every single-tensor cut and every useful multi-tensor cut on one walk from input to output.

    The cut before the whole model (`c000`) is first. Single-tensor cuts are numbered `c001`, `c002`, …, multi-tensor
    cuts `f001`, …, in the order of the walk. If neighbouring cuts of one layer have equally many elements, only the
    last is kept. Raises ModelRefused if the output does not depend on the input.
    """
    walk = operations_between(ops, input_tensor, output_tensor)
    position = {op.name: index for index, op in enumerate(walk)}
    last_use = {output_tensor: len(walk)}
    for index, op in enumerate(walk):
        for tensor in op.inputs:
            if _producer(tensor) in position:
                last_use[tensor] = max(index, last_use.get(tensor, 0))
    found: list[tuple[Op, Cut]] = []
    total = sum(op.macs for op in walk)
    head_macs = 0
    live: dict[str, TensorSpec | None] = {}
    for index, op in enumerate(walk[:-1]):
        head_macs += op.macs
        for port, spec in enumerate(op.outputs):
            live[f"{op.name}:{port}"] = spec
        live = {tensor: spec for tensor, spec in live.items() if last_use.get(tensor, -1) > index}
        boundary = tuple(spec for spec in live.values() if spec is not None)
        if len(boundary) == len(live):
            found.append((op, Cut("", op.layer, boundary, head_macs, total - head_macs)))
    return tuple(_assign_ids(_assign_names(_drop_useless(found))))


def _producer(tensor: str) -> str:
    """The name of the op that produces a tensor."""
    return tensor.rpartition(":")[0]


def operations_between(ops: Sequence[Op], input_tensor: str, output_tensor: str) -> list[Op]:
    """Return the ops on all paths from input to output, in a topological order close to the order of `ops`.

    Raises ModelRefused if no path exists."""
    by_name = {op.name: op for op in ops}
    consumers: dict[str, list[str]] = {}
    for op in ops:
        for tensor in op.inputs:
            consumers.setdefault(_producer(tensor), []).append(op.name)
    source, sink = _producer(input_tensor), _producer(output_tensor)
    forward = _reachable(source, lambda name: consumers.get(name, ()))
    backward = _reachable(sink, lambda name: (_producer(t) for t in by_name[name].inputs if _producer(t) in by_name))
    if source not in backward:
        raise ModelRefused("The model's output does not depend on its input; there is nothing to cut.")
    inside = forward & backward
    rank = {op.name: index for index, op in enumerate(ops)}
    missing = {name: len({_producer(t) for t in by_name[name].inputs} & inside) for name in inside}
    ready = [rank[name] for name, count in missing.items() if count == 0]
    heapify(ready)
    order: list[Op] = []
    while ready:
        op = ops[heappop(ready)]
        order.append(op)
        for consumer in set(consumers.get(op.name, ())) & inside:
            missing[consumer] -= 1
            if missing[consumer] == 0:
                heappush(ready, rank[consumer])
    return order


def _reachable(start: str, neighbours: Callable[[str], Iterable[str]]) -> set[str]:
    seen, stack = {start}, [start]
    while stack:
        for name in neighbours(stack.pop()):
            if name not in seen:
                seen.add(name)
                stack.append(name)
    return seen


def _drop_useless(found: Sequence[tuple[Op, Cut]]) -> list[tuple[Op, Cut]]:
    """Drop single-tensor cuts that repeat inside a layer, and multi-tensor cuts that an earlier cut beats."""
    singles = [pair for pair in found if not pair[1].is_multi_tensor]
    repeated = {
        id(cut)
        for (op, cut), (next_op, next_cut) in pairwise(singles[1:])  # the first is the input cut
        if op.layer == next_op.layer and cut.elements == next_cut.elements
    }
    kept: list[tuple[Op, Cut]] = []
    fewest = math.inf
    for op, cut in found:
        if not cut.is_multi_tensor:
            fewest = min(fewest, cut.elements)
        if cut.elements < fewest if cut.is_multi_tensor else id(cut) not in repeated:
            kept.append((op, cut))
    return kept


def _assign_names(found: Sequence[tuple[Op, Cut]]) -> list[Cut]:
    """Name the last cut of a layer after the layer, and add the op's name for earlier cuts; all names are unique."""
    owner = {cut.name: op.name for op, cut in found if not cut.is_multi_tensor}
    names: set[str] = set()
    named = []
    for op, cut in found:
        name = cut.name if owner.get(cut.name) == op.name else f"{cut.name}/{op.name.rpartition('/')[2]}"
        name = name if name not in names else op.name
        names.add(name)
        named.append(replace(cut, name=name))
    return named


def _assign_ids(cuts: Iterable[Cut]) -> Iterable[Cut]:
    count = {False: -1, True: 0}
    for cut in cuts:
        count[cut.is_multi_tensor] += 1
        yield replace(cut, id=f"{'f' if cut.is_multi_tensor else 'c'}{count[cut.is_multi_tensor]:03d}")


def match_cut(cuts: Sequence[Cut], id_or_name: str, bundle_name: str, reference: str) -> Cut:
    """Return the cut with this id, else with this name, else with this last part of a name if no other cut has it.
    Raises CutNotFound for two cuts of this name; otherwise with similar names and the command that lists all.
    `reference` names the bundle on a command line."""
    for cut in cuts:
        if id_or_name == cut.id:  # first: a bundle may name one cut as another's id
            return cut
    named = [cut for cut in cuts if id_or_name == cut.name]
    if len(named) > 1:
        ids = " or ".join(cut.id for cut in named[:3])
        raise CutNotFound(f"{len(named)} cuts of {bundle_name} are named {id_or_name!r}; give an id: {ids}.")
    matches = named or [cut for cut in cuts if cut.name.endswith(f"/{id_or_name}")]
    if len(matches) == 1:
        return matches[0]
    known = {word for cut in cuts for word in (cut.id, cut.name, cut.name.rpartition("/")[2])}
    similar = get_close_matches(id_or_name, known, n=3)
    hint = f"; did you mean {' or '.join(repr(word) for word in similar)}?" if similar else "."
    raise CutNotFound(
        f"No cut named {id_or_name!r} in {bundle_name}{hint} `hybrid-batch cuts {reference}` lists all {len(cuts)}."
    )
