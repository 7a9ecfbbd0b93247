"""Where a graph can be divided.

On the ops that depend on the input, a cut is a down-closed set; its boundary is every tensor made inside and
used outside, each counted once. Walking one topological order meets every single-tensor cut: an op through
which all paths from input to output pass has all its ancestors before it and all its descendants after it in
any order (it is a dominator). Of the multi-tensor frontiers on the walk we keep those with fewer elements
than every single-tensor cut before them; any other one loses, whatever the speeds of device, link and cloud
(if the cloud is faster per operation to that earlier cut, if it is slower to running everything here).
Divisions across branches that no walk meets are found by `inference.frontiers`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from heapq import heapify, heappop, heappush
from itertools import pairwise

from hybrid_batch.data.errors import CutNotFound, ModelRefused

WHOLE = "c000"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor of the graph: its name there (`scope/op:0`), shape without the batch, Open Inference datatype."""

    name: str
    shape: tuple[int, ...]
    datatype: str

    @property
    def elements(self) -> int:
        """Elements for one image."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Op:
    """A node of the graph. `inputs` are tensor names; `outputs` has one entry per port, None where the
    tensor has no leading batch, no static shape or a type that cannot travel. `macs` are multiply-accumulates
    for one image; `layer` is the layer's name, as its user knows it."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[TensorSpec | None, ...]
    macs: int = 0
    layer: str = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """A place to divide the graph. `elements`, `head_macs` and `tail_macs` are for one image."""

    id: str
    name: str
    boundary: tuple[TensorSpec, ...]
    head_macs: int
    tail_macs: int

    @property
    def elements(self) -> int:
        """Elements that cross the cut for one image."""
        return sum(tensor.elements for tensor in self.boundary)

    @property
    def is_frontier(self) -> bool:
        """Whether more than one tensor crosses."""
        return len(self.boundary) > 1

    @property
    def head_share(self) -> float:
        """The head's part of the multiply-accumulates, 0 to 1."""
        total = self.head_macs + self.tail_macs
        return self.head_macs / total if total else 0.0


def find_cuts(ops: Sequence[Op], input_tensor: str, output_tensor: str) -> tuple[Cut, ...]:
    """Every single-tensor cut and every useful frontier, the whole model (`c000`) first, then in order of the walk.

    Single-tensor cuts are `c001`, `c002`, …; frontiers `f001`, …. Of neighbouring cuts inside one layer that
    carry equally many elements only the last is kept. Raises ModelRefused if the output does not depend on
    the input.
    """
    walk = operations_between(ops, input_tensor, output_tensor)
    position = {op.name: index for index, op in enumerate(walk)}
    last_use = {output_tensor: len(walk)}
    for index, op in enumerate(walk):
        for tensor in op.inputs:
            if _maker(tensor) in position:
                last_use[tensor] = max(index, last_use.get(tensor, 0))
    found: list[tuple[Op, Cut]] = []
    total = sum(op.macs for op in walk)
    done = 0
    live: dict[str, TensorSpec | None] = {}
    for index, op in enumerate(walk[:-1]):
        done += op.macs
        for port, spec in enumerate(op.outputs):
            live[f"{op.name}:{port}"] = spec
        live = {tensor: spec for tensor, spec in live.items() if last_use.get(tensor, -1) > index}
        boundary = tuple(spec for spec in live.values() if spec is not None)
        if len(boundary) == len(live):
            found.append((op, Cut("", op.layer, boundary, done, total - done)))
    return tuple(_numbered(_named(_useful(found))))


def _maker(tensor: str) -> str:
    return tensor.rpartition(":")[0]


def operations_between(ops: Sequence[Op], input_tensor: str, output_tensor: str) -> list[Op]:
    """The ops on some path from input to output, in a topological order that follows the graph's own."""
    by_name = {op.name: op for op in ops}
    users: dict[str, list[str]] = {}
    for op in ops:
        for tensor in op.inputs:
            users.setdefault(_maker(tensor), []).append(op.name)
    source, sink = _maker(input_tensor), _maker(output_tensor)
    forward = _reachable(source, lambda name: users.get(name, ()))
    backward = _reachable(sink, lambda name: (_maker(t) for t in by_name[name].inputs if _maker(t) in by_name))
    if source not in backward:
        raise ModelRefused("The model's output does not depend on its input; there is nothing to cut.")
    inside = forward & backward
    rank = {op.name: index for index, op in enumerate(ops)}
    waiting = {name: len({_maker(t) for t in by_name[name].inputs} & inside) for name in inside}
    ready = [rank[name] for name, count in waiting.items() if count == 0]
    heapify(ready)
    order: list[Op] = []
    while ready:
        op = ops[heappop(ready)]
        order.append(op)
        for user in set(users.get(op.name, ())) & inside:
            waiting[user] -= 1
            if waiting[user] == 0:
                heappush(ready, rank[user])
    return order


def _reachable(start: str, neighbours: Callable[[str], Iterable[str]]) -> set[str]:
    seen, stack = {start}, [start]
    while stack:
        for name in neighbours(stack.pop()):
            if name not in seen:
                seen.add(name)
                stack.append(name)
    return seen


def _useful(found: Sequence[tuple[Op, Cut]]) -> list[tuple[Op, Cut]]:
    """Single-tensor cuts less those repeated inside a layer, and the frontiers they do not beat."""
    singles = [pair for pair in found if not pair[1].is_frontier]
    repeated = {
        id(cut)
        for (op, cut), (next_op, next_cut) in pairwise(singles[1:])  # the first is the whole model
        if op.layer == next_op.layer and cut.elements == next_cut.elements
    }
    kept: list[tuple[Op, Cut]] = []
    fewest = math.inf
    for op, cut in found:
        if not cut.is_frontier:
            fewest = min(fewest, cut.elements)
        if cut.elements < fewest if cut.is_frontier else id(cut) not in repeated:
            kept.append((op, cut))
    return kept


def _named(found: Sequence[tuple[Op, Cut]]) -> list[Cut]:
    """The last cut of a layer takes the layer's name, earlier ones add the op's; all names are unique."""
    owner = {cut.name: op.name for op, cut in found if not cut.is_frontier}
    names: set[str] = set()
    named = []
    for op, cut in found:
        name = cut.name if owner.get(cut.name) == op.name else f"{cut.name}/{op.name.rpartition('/')[2]}"
        name = name if name not in names else op.name
        names.add(name)
        named.append(replace(cut, name=name))
    return named


def _numbered(cuts: Iterable[Cut]) -> Iterable[Cut]:
    count = {False: -1, True: 0}
    for cut in cuts:
        count[cut.is_frontier] += 1
        yield replace(cut, id=f"{'f' if cut.is_frontier else 'c'}{count[cut.is_frontier]:03d}")


def match_cut(cuts: Sequence[Cut], wanted: str, bundle_name: str) -> Cut:
    """The cut with this id, name, or unique last part of a name. Raises CutNotFound, with near names."""
    for cut in cuts:
        if wanted in (cut.id, cut.name):
            return cut
    ending = [cut for cut in cuts if cut.name.endswith(f"/{wanted}")]
    if len(ending) == 1:
        return ending[0]
    words = {word for cut in cuts for word in (cut.id, cut.name, cut.name.rpartition("/")[2])}
    near = get_close_matches(wanted, words, n=3)
    hint = f"; did you mean {' or '.join(repr(word) for word in near)}?" if near else "."
    raise CutNotFound(
        f"No cut named {wanted!r} in {bundle_name}{hint} `hybrid-batch cuts {bundle_name}` lists all {len(cuts)}."
    )
