"""The time of the intervals of the confusion matrix and of the confidence's scores."""

import time

import numpy as np
import pyarrow as pa

from bench.results import Spread
from hybrid_batch.data.log.records import SCHEMA
from hybrid_batch.evaluation.counting.counts import Counts
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.statistics.calibration import confidence_scores
from hybrid_batch.evaluation.statistics.confusion_matrix import build_matrix
from hybrid_batch.evaluation.statistics.matrix_intervals import matrix_intervals

CLASSES = (10, 100)
_PER_CELL = 20


def intervals(rounds: int) -> list[dict[str, object]]:
    """A row for each number of classes: seconds of all intervals that are not of a proportion."""
    rows: list[dict[str, object]] = []
    for classes in CLASSES:
        counts = _counts(classes)
        matrix = build_matrix(counts["confusion"])
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            matrix_intervals(matrix)
            confidence_scores(counts)
            seconds.append(time.perf_counter() - start)
        rows.append({"classes": classes, "cells": len(matrix.records), "seconds": Spread.of(seconds)})
    return rows


def _counts(classes: int) -> Counts:
    """Counts of records in every cell of the confusion matrix, the largest number of cells."""
    random = np.random.default_rng(classes)
    names = [f"n{number:03d}" for number in range(classes)]
    cells = np.repeat(np.arange(classes * classes), _PER_CELL)
    columns = {
        "image": pa.array([f"{number}.png" for number in range(len(cells))]),
        "label": pa.array(np.array(names)[cells // classes]),
        "prediction": pa.array(np.array(names)[cells % classes]),
        "confidence": pa.array(random.random(len(cells), np.float32)),
    }
    for field in SCHEMA:
        is_integer = pa.types.is_integer(field.type)
        zeros = pa.repeat(pa.scalar(0, field.type), len(cells)) if is_integer else pa.nulls(len(cells), field.type)
        columns.setdefault(field.name, zeros)
    return count_table(pa.table(columns))
