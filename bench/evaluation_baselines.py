"""Evaluations of the synthetic log: our engines, and other libraries computing the same from the same files.

`python -m bench.evaluation_baselines NAME FOLDER` prints the seconds of the evaluation, without start-up. The other
libraries have every advantage: their quantiles may be approximate, they select errors among the 50,000 most confident,
and they do not compute the parts of the report that follow from the counts (measures, intervals, the page).
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from hybrid_batch.data.log.records import STAGES
from hybrid_batch.jobs.input.part_list import Part

SPLIT_COLUMNS = ("cut", "codec", "tail")
TIMES = tuple(f"{stage}_us" for stage in STAGES)


def inline(folder: Path) -> float:
    """Our threads, up to the text of the report."""
    from hybrid_batch.evaluation.output.canonical_json import to_json
    from hybrid_batch.jobs.evaluate_inline import evaluate

    return _timed(lambda: to_json(evaluate(_parts(folder))))


def mrjob_inline(folder: Path) -> float:
    """mrjob in this process."""
    from hybrid_batch.evaluation.output.canonical_json import to_json
    from hybrid_batch.jobs.evaluate_mrjob import evaluate

    return _timed(lambda: to_json(evaluate(_parts(folder))))


def mrjob_local(folder: Path) -> float:
    """mrjob's processes, including their start."""
    from hybrid_batch.evaluation.output.canonical_json import to_json
    from hybrid_batch.jobs.evaluate_mrjob import evaluate

    return _timed(lambda: to_json(evaluate(_parts(folder), runner="local")))


def spark(folder: Path) -> float:
    """Spark on the cores of this machine, without the start of its session."""
    from hybrid_batch.evaluation.output.canonical_json import to_json
    from hybrid_batch.jobs.engines.spark_session import spark_session
    from hybrid_batch.jobs.evaluate_spark import evaluate

    with spark_session():
        return _timed(lambda: to_json(evaluate(_parts(folder))))


def duckdb(folder: Path) -> float:
    """SQL, a query for each tally."""
    import duckdb

    connection = duckdb.connect()
    connection.read_parquet(f"{folder}/part-*.parquet").create_view("found")
    queries = Path(__file__).with_name("evaluation.sql").read_text().split(";")
    return _timed(lambda: [connection.execute(query).fetchall() for query in queries])


def polars(folder: Path) -> float:
    """The streaming engine, with one lazy frame for each tally."""
    import polars as pl

    c = pl.col
    found = pl.scan_parquet(f"{folder}/part-*.parquet")
    good = found.filter(c("error").is_null() & c("prediction").is_not_null())
    labels = c("top5").list.eval(pl.element().struct.field("label"))
    right = c("label") == c("prediction")
    bytes_ = [c(name).sum() for name in ("image_bytes", "cut_bytes", "sent_bytes", "received_bytes")]
    measures = [pl.len(), c("error").count().alias("errors"), c("label").null_count().alias("unlabelled")]
    measures += [right.sum().alias("correct"), *bytes_]
    bounds = [getattr(c(name), kind)().alias(f"{name}_{kind}") for name in TIMES for kind in ("sum", "min", "max")]

    def bucket(name: str) -> pl.Expr:
        return ((c(name) + 1).log(2) * 128).cast(pl.Int32).alias("bucket")

    # Exact quantiles would need all values in memory; buckets, as ours, do not.
    frames = [good.group_by("label", "prediction").len(), found.group_by(SPLIT_COLUMNS).agg(*measures, *bounds)]
    frames += [good.group_by(*SPLIT_COLUMNS, bucket(name)).len() for name in TIMES]
    frames += [good.group_by(SPLIT_COLUMNS).agg(labels.list.contains(c("label")).sum())]
    folders = c("image").str.extract(r"^(.*)/", 1).alias("folder")
    for key in (c("label"), c("prediction"), folders):
        hit = labels.list.contains(c("label")).sum().alias("hit")
        frames += [found.group_by(key).agg(*measures, hit, *bounds[-3:])]
        frames += [good.group_by(key, bucket("latency_us")).len()]
    known = good.filter(c("label").is_not_null())
    happened = pl.when(right).then(c("confidence")).otherwise(1 - c("confidence"))
    frames += [
        known.group_by(
            (c("confidence") * 15).ceil().alias("bin"),
            (-(1 - c("confidence") + 1e-9).log(2) * 128).cast(pl.Int32).alias("bucket"),
            right.alias("right"),
        ).agg(
            pl.len(),
            c("confidence").sum(),
            ((1 - happened) ** 2).sum().alias("brier"),
            happened.log().sum().alias("loss"),
        ),
        good.group_by(c("started_at").dt.truncate("1m").alias("minute")).agg(
            pl.len(), c("started_at").min().alias("first")
        ),
        known.filter(~right).select("label", "prediction", "image", "confidence").top_k(50_000, by="confidence"),
    ]
    return _timed(lambda: pl.collect_all(frames, engine="streaming"))


def sklearn(folder: Path) -> float:
    """scikit-learn with labels and predictions only, all in memory: no times, slices, top 5 or calibration."""
    import pyarrow.dataset as ds
    from sklearn.metrics import classification_report, cohen_kappa_score, confusion_matrix, matthews_corrcoef

    def measure() -> None:
        table = ds.dataset(folder).to_table(["label", "prediction"]).drop_null().unify_dictionaries().combine_chunks()
        label, prediction = (table[name].chunk(0).indices.to_numpy() for name in ("label", "prediction"))
        confusion_matrix(label, prediction)
        classification_report(label, prediction, output_dict=True)
        cohen_kappa_score(label, prediction)
        matthews_corrcoef(label, prediction)

    return _timed(measure)


BASELINES: dict[str, Callable[[Path], float]] = {
    "inline": inline,
    "mrjob inline": mrjob_inline,
    "mrjob local": mrjob_local,
    "spark": spark,
    "duckdb": duckdb,
    "polars": polars,
    "sklearn": sklearn,
}


def _parts(folder: Path) -> list[Part]:
    return [Part(str(folder), index) for index in range(len(list(folder.glob("part-*.parquet"))))]


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    print(BASELINES[sys.argv[1]](Path(sys.argv[2])))
