import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from hybrid_batch.data.log.records import to_table
from hybrid_batch.evaluation.counting.counters.calibration_counter import CLIP
from hybrid_batch.evaluation.counting.encoding.fixed_point import from_fixed, ln, to_fixed
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.evaluation.report import build_report
from hybrid_batch.evaluation.report_schema import Report
from tests.factories.records import record


def evaluated(seed: int, count: int = 4000, saturated: bool = False) -> tuple[np.ndarray, np.ndarray, Report]:
    """Confidences, whether predictions are correct, and the report of such records."""
    random = np.random.default_rng(seed)
    confidence = random.random(count, dtype=np.float32)
    if saturated:
        confidence = 1 - confidence**12
        confidence[:50], confidence[50:60] = 1, 0
    right = random.random(count) < confidence**2
    records = [
        record(prediction="a" if hit else "b", confidence=float(value))
        for value, hit in zip(confidence, right, strict=True)
    ]
    return confidence.astype(np.float64), right, build_report(count_table(to_table(records)))


@pytest.mark.parametrize("saturated", [False, True])
def test_scores_equal_scikit_learn(saturated: bool) -> None:
    confidence, right, report = evaluated(0, saturated=saturated)
    brier, loss = (report["headline"][name] for name in ("confidence_brier", "confidence_log_loss"))
    assert brier["value"] == pytest.approx(brier_score_loss(right, confidence), rel=1e-12)
    # scikit-learn clips float32 so; with float32 input it would also compute in float32.
    assert loss["value"] == pytest.approx(log_loss(right, np.clip(confidence, CLIP, 1 - CLIP)), rel=1e-12)
    for measure in (brier, loss):
        assert measure["low"] < measure["value"] < measure["high"]


@pytest.mark.parametrize("confidence", [0.75, 0.9990234375])
@pytest.mark.parametrize("count", [1, 12])
def test_intervals_of_the_scores_cover_also_without_an_error(confidence: float, count: int) -> None:
    headlines = [
        build_report(
            count_table(
                to_table([record(prediction="a" if n < hits else "b", confidence=confidence) for n in range(count)])
            )
        )["headline"]
        for hits in range(count + 1)
    ]
    for name, right, wrong in (
        ("confidence_brier", (1 - confidence) ** 2, confidence**2),
        ("confidence_log_loss", -np.log(confidence), -np.log(1 - confidence)),
    ):
        for share in (0.02, 0.2, 0.5, 0.9, 0.999):
            true = share * right + (1 - share) * wrong
            covered = sum(
                math.comb(count, hits) * share**hits * (1 - share) ** (count - hits)
                for hits, headline in enumerate(headlines)
                if headline[name]["low"] <= true <= headline[name]["high"]
            )
            assert covered >= 0.79 if count == 1 else covered >= 0.88, (name, share)
        assert all(headline[name]["low"] < headline[name]["high"] for headline in headlines)


@pytest.mark.parametrize("saturated", [False, True])
def test_equal_width_bins_equal_scikit_learn(saturated: bool) -> None:
    confidence, right, report = evaluated(1, saturated=saturated)
    binning = report["calibration"]["equal_width"]
    filled = [one for one in binning["bins"] if one["records"]]
    accuracy, mean = calibration_curve(right, confidence, n_bins=15)
    assert [one["accuracy"]["value"] for one in filled] == pytest.approx(accuracy, rel=1e-12)
    assert [one["confidence"] for one in filled] == pytest.approx(mean, rel=1e-12)
    weights = np.array([one["records"] for one in filled]) / len(confidence)
    assert binning["ece"] == pytest.approx((weights * np.abs(accuracy - mean)).sum(), rel=1e-12)
    assert len(binning["bins"]) == 15


@pytest.mark.parametrize("saturated", [False, True])
def test_equal_mass_bins_hold_the_records_between_their_edges(saturated: bool) -> None:
    confidence, right, report = evaluated(2, saturated=saturated)
    bins = report["calibration"]["equal_mass"]["bins"]
    assert sum(one["records"] for one in bins) == len(confidence)
    assert (bins[0]["low"], bins[-1]["high"]) == (0, 1)
    gaps = 0.0
    for place, one in enumerate(bins):
        inside = (confidence > one["low"]) & (confidence <= one["high"])
        inside |= (place == 0) & (confidence == 0)
        assert one["records"] == inside.sum()
        assert one["accuracy"]["value"] == pytest.approx(right[inside].mean(), rel=1e-12)
        assert one["confidence"] == pytest.approx(confidence[inside].mean(), rel=1e-12)
        gaps += abs(right[inside].sum() - confidence[inside].sum())
        # The size of a bin is exact to one bucket; a quarter of the saturated confidences are in the last bucket.
        assert saturated or abs(one["records"] - len(confidence) / 15) < 30
    assert report["calibration"]["equal_mass"]["ece"] == pytest.approx(gaps / len(confidence), rel=1e-10)


@pytest.mark.slow
def test_perfect_confidences_have_the_expected_calibration_error() -> None:
    random = np.random.default_rng(3)
    binnings = []
    for _ in range(60):
        confidence = random.random(1000, dtype=np.float32)
        right = random.random(1000) < confidence
        records = [
            record(prediction="a" if hit else "b", confidence=float(value))
            for value, hit in zip(confidence, right, strict=True)
        ]
        binnings.append(build_report(count_table(to_table(records)))["calibration"]["equal_width"])
    mean = np.mean([one["ece"] for one in binnings])
    assert mean == pytest.approx(np.mean([one["ece_null"] for one in binnings]), rel=0.06)
    assert 0 < sum(one["ece"] > one["ece_null_p95"] for one in binnings) <= 9  # 3 of 60 are expected


def test_confidences_outside_0_to_1_are_not_calibrated() -> None:
    records = [record(confidence=value) for value in (None, float("nan"), -0.1, 1.5, 0.5)]
    report = build_report(count_table(to_table(records)))
    assert report["calibration"]["records"] == 1
    assert "4 of the 5 labelled records have no confidence in [0, 1] and are not calibrated." in report["notes"]


def test_logarithms_are_accurate_to_the_last_digits() -> None:
    values = np.concatenate([np.geomspace(CLIP, 1, 100_001), 1 - np.geomspace(CLIP, 0.5, 1001)])
    assert np.abs(ln(values) - np.log(values)).max() < 4e-15


def test_fixed_point_numbers_are_recovered() -> None:
    values = np.random.default_rng(4).random(1000, dtype=np.float32).astype(np.float64)
    high, low = to_fixed(values)
    assert [from_fixed(int(a), int(b)) for a, b in zip(high, low, strict=True)] == values.tolist()
    assert from_fixed(int(high.sum()), int(low.sum())) == pytest.approx(values.sum(), rel=1e-15)


def test_the_report_does_not_depend_on_the_order_of_the_tally() -> None:
    random = np.random.default_rng(5)
    confidences = random.random(3000, dtype=np.float32)
    records = [record(prediction=random.choice(["a", "b"]), confidence=float(value)) for value in confidences]
    counts = count_table(to_table(records))
    orders = [random.permutation(len(counts["calibration"])) for _ in range(20)]
    reports = [to_json(build_report(counts | {"calibration": counts["calibration"].take(order)})) for order in orders]
    assert len(set(reports)) == 1
