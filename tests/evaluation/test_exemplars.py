import random

import numpy as np
import pytest

from hybrid_batch.data.log.records import Record, to_table
from hybrid_batch.evaluation.counting import confident_errors as exemplars
from hybrid_batch.evaluation.counting.counts import merge
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.report import build
from tests.made_records import record


def errors(count: int, seed: int = 0) -> list[Record]:
    """Errors of twelve cells, many of the same confidence."""
    generator = random.Random(seed)
    made = []
    for number in range(count):
        label, prediction = generator.sample("abcd", 2)
        value = float(np.float32(generator.choice([1, 0.5, generator.random()])))
        made.append(record(image=f"{number}.png", label=label, prediction=prediction, confidence=value))
    return made


def expected(records: list[Record], per_cell: int, at_most: int) -> list[str]:
    """By the definition, slowly."""
    cells: dict[tuple[str, str], int] = {}
    taken = []
    for made in sorted(records, key=lambda made: (-made.confidence, made.label, made.prediction, made.image)):
        cell = (made.label, made.prediction)
        cells[cell] = cells.get(cell, 0) + 1
        if cells[cell] <= per_cell:
            taken.append(made.image)
    return taken[:at_most]


@pytest.mark.parametrize("at_most", [1000, 60, 17, 3])
def test_however_records_are_parted_the_same_are_taken(at_most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exemplars, "AT_MOST", at_most)
    monkeypatch.setattr(exemplars, "_WAITING", 2 * at_most)
    records = errors(400)
    wanted = expected(records, exemplars.PER_CELL, at_most)
    generator = random.Random(1)
    for _ in range(20):
        generator.shuffle(records)
        size = generator.randrange(20, 200)
        tables = [to_table(records[start : start + size]) for start in range(0, len(records), size)]
        found = build(merge([count_table(table) for table in tables]))["exemplars"]
        assert [one["image"] for one in found] == wanted


def test_an_image_in_two_runs_is_shown_once() -> None:
    table = to_table(errors(3))
    assert len(build(merge([count_table(table), count_table(table)]))["exemplars"]) == 3


def test_what_is_right_or_unknown_is_no_exemplar() -> None:
    records = [
        record(confidence=1.0),
        record(label=None, prediction="b", confidence=1.0),
        record(prediction="b", confidence=None),
        record(prediction="b", error="broken", confidence=1.0),
        record(prediction="b", confidence=0.25, image="this"),
    ]
    found = build(count_table(to_table(records)))["exemplars"]
    assert found == [{"image": "this", "label": "a", "prediction": "b", "confidence": 0.25}]
