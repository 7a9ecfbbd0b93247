"""The cuts of a graph with branches that no other beats, found among all its cuts and not on one walk alone.

Every operation is computed here or there and costs what it costs; every tensor made here and used there costs its
elements, once: the best division is a minimum cut between two machines. Arcs without limit from each user back to its
maker keep the set of operations here down-closed: without them (as DADS, Hu et al. 2019, was published) the minimum
may compute here what depends on results from there. Whatever the speeds of the machines and the link, the best
division is a corner of the hull of all divisions over (work here, elements sent); those corners are found once, at
import, so that a plan is a choice from a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hybrid_batch.inference.model.cuts import Cut, Op, TensorSpec
from hybrid_batch.inference.protocol.wire import MAX_TENSORS

_HERE, _THERE = ("here",), ("there",)


def hull_frontiers(ops: Sequence[Op], known: Sequence[Cut]) -> tuple[Cut, ...]:
    """The corners of the hull with several tensors that are not among the `known` cuts, by rising work, numbered on
    from them. `ops` are those between input and output, the input's first."""
    boundaries = {frozenset(tensor.name for tensor in cut.boundary) for cut in known}
    number = sum(cut.is_frontier for cut in known)
    names = {cut.name for cut in known}
    found: list[Cut] = []
    for corner in sorted(_corners(ops), key=lambda corner: corner.work):
        tensors = _boundary(ops, corner.here)
        if not 1 < len(tensors) <= MAX_TENSORS or frozenset(tensor.name for tensor in tensors) in boundaries:
            continue
        last = next(op for op in reversed(ops) if op.name in corner.here)
        name = f"{last.layer}/across"
        name = name if name not in names else f"{last.name}/across"
        names.add(name)
        total = sum(op.macs for op in ops)
        found.append(Cut(f"f{number + len(found) + 1:03d}", name, tensors, corner.work, total - corner.work))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Speeds:
    """Costs of one unit, in any one measure of time."""

    element: float
    head_mac: float
    tail_mac: float


def least_latency(ops: Sequence[Op], input_op: str, speeds: Speeds) -> frozenset[str]:
    """The names of the ops to compute here so that one image takes the least time: a down-closed set with the input's
    op in it; all of them when nothing should be sent. `ops` are those between input and output. A tensor that cannot
    travel is never cut."""
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_edge(_HERE, input_op)  # an arc without capacity has no limit
    made = {op.name for op in ops}
    for op in ops:
        if op.name != input_op:
            graph.add_edge(_HERE, op.name, capacity=op.macs * speeds.tail_mac)
        graph.add_edge(op.name, _THERE, capacity=op.macs * speeds.head_mac)
        for port, spec in enumerate(op.outputs):
            tensor = (op.name, port)
            if spec is None:
                graph.add_edge(op.name, tensor)
            else:
                graph.add_edge(op.name, tensor, capacity=spec.elements * speeds.element)
        for name in op.inputs:
            maker, _, number = name.rpartition(":")
            if maker in made:
                graph.add_edge((maker, int(number)), op.name)
                graph.add_edge(op.name, maker)
    _, (here, _) = nx.minimum_cut(graph, _HERE, _THERE)
    return frozenset(here & made)


def latency(ops: Sequence[Op], here: frozenset[str], speeds: Speeds) -> float:
    """What one image takes with these ops here; without limit if a tensor would have to travel that cannot."""
    used_there = {name for op in ops if op.name not in here for name in op.inputs}
    total = 0.0
    for op in ops:
        if op.name not in here:
            total += op.macs * speeds.tail_mac
            continue
        total += op.macs * speeds.head_mac
        for port, spec in enumerate(op.outputs):
            if f"{op.name}:{port}" in used_there:
                total += spec.elements * speeds.element if spec else float("inf")
    return total


@dataclass(frozen=True, slots=True)
class _Corner:
    here: frozenset[str]
    work: int
    elements: int


def _corners(ops: Sequence[Op]) -> list[_Corner]:
    """Between sending the input and sending nothing: ask for the best at the slope between two neighbours, until
    there is none below their line."""
    first, last = _corner(ops, frozenset({ops[0].name})), _corner(ops, frozenset(op.name for op in ops))
    found: list[_Corner] = []
    asked = [(first, last)]
    while asked:
        left, right = asked.pop()
        work, elements = right.work - left.work, left.elements - right.elements
        if work <= 0 or elements <= 0:
            continue
        # In whole numbers, so that a corner on the line is never taken for one below it.
        speeds = Speeds(work, elements, 0)
        corner = _corner(ops, least_latency(ops, ops[0].name, speeds))
        if corner.work * elements + corner.elements * work < left.work * elements + left.elements * work:
            found.append(corner)
            asked += [(left, corner), (corner, right)]
    return found


def _corner(ops: Sequence[Op], here: frozenset[str]) -> _Corner:
    work = sum(op.macs for op in ops if op.name in here)
    return _Corner(here, work, sum(tensor.elements for tensor in _boundary(ops, here)))


def _boundary(ops: Sequence[Op], here: frozenset[str]) -> tuple[TensorSpec, ...]:
    """What is made here and used there, in the order of the ops."""
    used_there = {name for op in ops if op.name not in here for name in op.inputs}
    return tuple(
        spec
        for op in ops
        if op.name in here
        for port, spec in enumerate(op.outputs)
        if spec is not None and f"{op.name}:{port}" in used_there
    )
