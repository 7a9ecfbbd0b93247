"""The present plan of an adaptive run, and its candidates by split and batch size."""

from collections.abc import Callable, Sequence

from hybrid_batch.inference.planner.plan.candidates import Candidate
from hybrid_batch.inference.planner.plan.cost_model import Conditions
from hybrid_batch.inference.planner.plan.plan import Plan
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.split import LocalSplit, Split


class Predictions:
    """A lookup table of the candidates predicted under the same conditions."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._by_key = {(one.split.name, one.codec, one.batch): one for one in candidates}
        self._batch_sizes = sorted({one.batch for one in candidates})

    @property
    def smallest_batch(self) -> int:
        """The smallest batch size."""
        return self._batch_sizes[0]

    def find(self, split: Split, batch_size: int) -> Candidate:
        """The prediction for a split and one of the batch sizes."""
        return self._by_key[split.name, split.codec, batch_size]

    def local(self, batch_size: int) -> Candidate:
        """The prediction for the whole model on this machine."""
        return self.find(LocalSplit(), batch_size)

    def matching(self, candidate: Candidate) -> Candidate:
        """The prediction for the split and the batch size of a candidate of another table."""
        return self.find(candidate.split, candidate.batch)

    def of_batch(self, batch: Batch) -> Candidate:
        """The prediction for a batch: that of the smallest size that holds it, else of the largest size."""
        fitting = (size for size in self._batch_sizes if size >= len(batch.images))
        return self.find(batch.split, next(fitting, self._batch_sizes[-1]))


class Replanner:
    """Makes a new plan whenever `conditions` change; the first one is for those of the profile. Other threads may
    read `plan` and `predictions`, which are replaced as a whole."""

    def __init__(self, make_plan: Callable[[Conditions], Plan], conditions: Conditions) -> None:
        self._make_plan, self.conditions = make_plan, conditions
        self.plan = make_plan(conditions)
        self.predictions = Predictions(self.plan.candidates)

    def update(self, conditions: Conditions) -> None:
        """Plan for these conditions, unless the present plan is for the same."""
        if conditions != self.conditions:
            self.conditions = conditions
            self.plan = self._make_plan(conditions)
            self.predictions = Predictions(self.plan.candidates)
