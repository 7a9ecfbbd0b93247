import random

import numpy as np
import pytest

from hybrid_batch.data.log.records import Record, to_table
from hybrid_batch.evaluation.counting import confident_errors
from hybrid_batch.evaluation.counting.counts import merge_counts
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.report import build_report
from tests.factories.records import record


def errors(count: int, seed: int = 0) -> list[Record]:
    """Errors in twelve cells, many with equal confidence."""
    generator = random.Random(seed)
    records = []
    for number in range(count):
        label, prediction = generator.sample("abcd", 2)
        value = float(np.float32(generator.choice([1, 0.5, generator.random()])))
        records.append(record(image=f"{number}.png", label=label, prediction=prediction, confidence=value))
    return records


def expected(records: list[Record], per_cell: int, at_most: int) -> list[str]:
    """The selection by its definition."""
    cells: dict[tuple[str, str], int] = {}
    taken = []
    for entry in sorted(records, key=lambda entry: (-entry.confidence, entry.label, entry.prediction, entry.image)):
        cell = (entry.label, entry.prediction)
        cells[cell] = cells.get(cell, 0) + 1
        if cells[cell] <= per_cell:
            taken.append(entry.image)
    return taken[:at_most]


@pytest.mark.slow
@pytest.mark.parametrize("at_most", [1000, 60, 17, 3])
def test_the_selection_does_not_depend_on_the_partition(at_most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confident_errors, "MAX_ERRORS", at_most)
    monkeypatch.setattr(confident_errors, "_PENDING_ROWS", 2 * at_most)
    records = errors(400)
    selected = expected(records, confident_errors.PER_CELL, at_most)
    generator = random.Random(1)
    for _ in range(20):
        generator.shuffle(records)
        size = generator.randrange(20, 200)
        tables = [to_table(records[start : start + size]) for start in range(0, len(records), size)]
        listed = build_report(merge_counts([count_table(table) for table in tables]))["exemplars"]
        assert [one["image"] for one in listed] == selected


def test_an_image_in_two_runs_is_listed_once() -> None:
    table = to_table(errors(3))
    assert len(build_report(merge_counts([count_table(table), count_table(table)]))["exemplars"]) == 3


def test_correct_and_unknown_predictions_are_not_listed() -> None:
    records = [
        record(confidence=1.0),
        record(label=None, prediction="b", confidence=1.0),
        record(prediction="b", confidence=None),
        record(prediction="b", error="broken", confidence=1.0),
        record(prediction="b", confidence=0.25, image="this"),
    ]
    listed = build_report(count_table(to_table(records)))["exemplars"]
    assert listed == [{"image": "this", "label": "a", "prediction": "b", "confidence": 0.25}]
