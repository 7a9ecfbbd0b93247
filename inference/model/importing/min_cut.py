"""The cuts across branches that one topological walk does not pass, found by minimum cuts.

Each op runs on this machine (local) or in the tail (remote), at the cost of its operations. Each tensor that is
produced locally and consumed remotely costs its elements, once. The division of least latency is a minimum cut of
the flow network of these costs:

    LOCAL ── macs · tail_mac ──► op ── macs · head_mac ──► REMOTE       where the op runs
             op ── elements · element ──► tensor ── ∞ ──► consumer      whether the tensor is sent
             consumer ── ∞ ──► op                                       no tensor comes back

The last kind of arc keeps the local ops down-closed. Without it, as in DADS (Hu et al. 2019), a minimum cut may run
an op locally that needs a remote result. At any speeds of machines and link, the best division is a corner of the
convex hull of all divisions over (local operations, sent elements). Import computes these corners once, so that a
plan is a choice from a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hybrid_batch.inference.model.cuts import MAX_TENSORS, Cut, Op, TensorSpec

_LOCAL, _REMOTE = ("local",), ("remote",)


@dataclass(frozen=True, slots=True)
class UnitCosts:
    """The costs of sending one element and of one multiply-accumulate in head and tail, in one unit of time."""

    element: float
    head_mac: float
    tail_mac: float


def hull_cuts(ops: Sequence[Op], known: Sequence[Cut]) -> tuple[Cut, ...]:
    """Return the multi-tensor cuts at corners of the hull that are not among the `known` cuts, by rising head work.

    Their ids continue those of `known`. `ops` are the ops between input and output, the input's first."""
    boundaries = {frozenset(tensor.name for tensor in cut.boundary) for cut in known}
    number = sum(cut.is_multi_tensor for cut in known)
    names = {cut.name for cut in known}
    total = sum(op.macs for op in ops)
    found: list[Cut] = []
    for corner in sorted(_hull_corners(ops), key=lambda corner: corner.macs):
        tensors = _boundary(ops, corner.local_ops)
        if not 1 < len(tensors) <= MAX_TENSORS or frozenset(tensor.name for tensor in tensors) in boundaries:
            continue
        last = next(op for op in reversed(ops) if op.name in corner.local_ops)
        name = f"{last.layer}/across"
        name = name if name not in names else f"{last.name}/across"
        names.add(name)
        found.append(Cut(f"f{number + len(found) + 1:03d}", name, tensors, corner.macs, total - corner.macs))
    return tuple(found)


def min_latency_partition(ops: Sequence[Op], input_op: str, costs: UnitCosts) -> frozenset[str]:
    """Return the names of the ops to run locally for the least latency of one image.

    They are a down-closed set with `input_op` in it, and all ops if nothing should be sent. `ops` are the ops
    between input and output. A tensor that cannot be sent is never on the boundary."""
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_edge(_LOCAL, input_op)  # an arc without capacity is unlimited
    produced = {op.name for op in ops}
    for op in ops:
        if op.name != input_op:
            graph.add_edge(_LOCAL, op.name, capacity=op.macs * costs.tail_mac)
        graph.add_edge(op.name, _REMOTE, capacity=op.macs * costs.head_mac)
        for port, spec in enumerate(op.outputs):
            tensor = (op.name, port)
            if spec is None:
                graph.add_edge(op.name, tensor)
            else:
                graph.add_edge(op.name, tensor, capacity=spec.elements * costs.element)
        for name in op.inputs:
            producer, _, port_number = name.rpartition(":")
            if producer in produced:
                graph.add_edge((producer, int(port_number)), op.name)
                graph.add_edge(op.name, producer)
    _, (local_side, _) = nx.minimum_cut(graph, _LOCAL, _REMOTE)
    return frozenset(local_side & produced)


def partition_latency(ops: Sequence[Op], local_ops: frozenset[str], costs: UnitCosts) -> float:
    """Return the latency of one image with these ops local; infinite if a tensor must be sent that cannot be."""
    used_remotely = {name for op in ops if op.name not in local_ops for name in op.inputs}
    total = 0.0
    for op in ops:
        if op.name not in local_ops:
            total += op.macs * costs.tail_mac
            continue
        total += op.macs * costs.head_mac
        for port, spec in enumerate(op.outputs):
            if f"{op.name}:{port}" in used_remotely:
                total += spec.elements * costs.element if spec else float("inf")
    return total


@dataclass(frozen=True, slots=True)
class _Corner:
    """A division: the local ops, their multiply-accumulates, and the elements on their boundary."""

    local_ops: frozenset[str]
    macs: int
    elements: int


def _hull_corners(ops: Sequence[Op]) -> list[_Corner]:
    """Find the corners between two divisions: send the input, and send nothing.

    For two neighbouring corners, the minimum cut at the slope of the line between them is a new corner, unless
    no division is below the line."""
    first, last = _corner(ops, frozenset({ops[0].name})), _corner(ops, frozenset(op.name for op in ops))
    found: list[_Corner] = []
    pending = [(first, last)]
    while pending:
        left, right = pending.pop()
        macs, elements = right.macs - left.macs, left.elements - right.elements
        if macs <= 0 or elements <= 0:
            continue
        # The costs are integers, so that a corner on the line is never mistaken for one below it.
        costs = UnitCosts(macs, elements, 0)
        corner = _corner(ops, min_latency_partition(ops, ops[0].name, costs))
        if corner.macs * elements + corner.elements * macs < left.macs * elements + left.elements * macs:
            found.append(corner)
            pending += [(left, corner), (corner, right)]
    return found


def _corner(ops: Sequence[Op], local_ops: frozenset[str]) -> _Corner:
    macs = sum(op.macs for op in ops if op.name in local_ops)
    return _Corner(local_ops, macs, sum(tensor.elements for tensor in _boundary(ops, local_ops)))


def _boundary(ops: Sequence[Op], local_ops: frozenset[str]) -> tuple[TensorSpec, ...]:
    """The tensors that are produced locally and consumed remotely, in the order of the ops."""
    used_remotely = {name for op in ops if op.name not in local_ops for name in op.inputs}
    return tuple(
        spec
        for op in ops
        if op.name in local_ops
        for port, spec in enumerate(op.outputs)
        if spec is not None and f"{op.name}:{port}" in used_remotely
    )
