import numpy as np
import pytest

from hybrid_batch.evaluation.counting import sparse_histogram as pairs
from hybrid_batch.evaluation.counting.sparse_histogram import Pairs


def counted(found: Pairs) -> dict[tuple[int, int], int]:
    rows, columns, counts = (values.tolist() for values in found.items())
    return dict(zip(zip(rows, columns, strict=True), counts, strict=True))


@pytest.mark.parametrize("cells", [1 << 22, 200, 0])
def test_pairs_are_counted_dense_or_sparse(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "DENSE_CELLS", cells)
    monkeypatch.setattr(pairs, "WAITING", 70)
    random = np.random.default_rng(0)
    found, expected = Pairs(), dict[tuple[int, int], int]()
    for turn in range(1, 30):
        rows, columns = random.integers(0, turn, 50), random.integers(-turn * turn, turn, 50)
        found.add(rows, columns)
        for pair in zip(rows.tolist(), columns.tolist(), strict=True):
            expected[pair] = expected.get(pair, 0) + 1
        assert counted(found) == expected
    assert list(counted(found)) == sorted(expected)


def test_counts_go_beyond_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Pairs()
    found.add(np.zeros(1, np.int64), np.zeros(1, np.int64))
    found._cells[...] = pairs._MOST * (found._cells > 0)  # as after so many additions
    found._added = pairs._MOST
    found.add(np.zeros(2, np.int64), np.zeros(2, np.int64))
    assert counted(found) == {(0, 0): pairs._MOST + 2}
