import numpy as np
import pytest

from hybrid_batch.evaluation.counting.encoding import sparse_histogram
from hybrid_batch.evaluation.counting.encoding.sparse_histogram import SparseHistogram2D


def counted(histogram: SparseHistogram2D) -> dict[tuple[int, int], int]:
    rows, columns, counts = (values.tolist() for values in histogram.items())
    return dict(zip(zip(rows, columns, strict=True), counts, strict=True))


@pytest.mark.parametrize("cells", [1 << 22, 200, 0])
def test_dense_and_sparse_counts_are_equal(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_histogram, "DENSE_CELLS", cells)
    monkeypatch.setattr(sparse_histogram, "PENDING_PAIRS", 70)
    random = np.random.default_rng(0)
    histogram, expected = SparseHistogram2D(), dict[tuple[int, int], int]()
    for turn in range(1, 30):
        rows, columns = random.integers(0, turn, 50), random.integers(-turn * turn, turn, 50)
        histogram.add(rows, columns)
        for pair in zip(rows.tolist(), columns.tolist(), strict=True):
            expected[pair] = expected.get(pair, 0) + 1
        assert counted(histogram) == expected
    assert list(counted(histogram)) == sorted(expected)


def test_counts_may_exceed_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    histogram = SparseHistogram2D()
    histogram.add(np.zeros(1, np.int64), np.zeros(1, np.int64))
    histogram._cells[...] = sparse_histogram._UINT32_MAX * (histogram._cells > 0)  # as after that many additions
    histogram._added = sparse_histogram._UINT32_MAX
    histogram.add(np.zeros(2, np.int64), np.zeros(2, np.int64))
    assert counted(histogram) == {(0, 0): sparse_histogram._UINT32_MAX + 2}
