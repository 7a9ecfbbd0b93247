"""hybrid-batch: classify folders of images with a neural network cut in two, and evaluate the log with MapReduce.

The functions are those of the commands of the same names. Notes, such as that a run is unfinished, are warnings.
Importing this package imports nothing heavy.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hybrid_batch.data.images.decode import Colour, Resize, Scale
    from hybrid_batch.data.log.runs import RunFolder
    from hybrid_batch.evaluation.comparison.comparison import Comparison
    from hybrid_batch.evaluation.report_schema import Report
    from hybrid_batch.inference.commands.run.run_images import RunResult
    from hybrid_batch.inference.model.bundle import Bundle

__all__ = ["compare", "evaluate", "import_model", "open_run", "run", "serve"]


def import_model(
    model: str,
    output: str | Path,
    *,
    scale: "Scale | None" = None,
    resize: "Resize | None" = None,
    colour: "Colour | None" = None,
    size: tuple[int, int] | tuple[int, int, int] | None = None,
    classes: str | Path | None = None,
    weights: str = "none",
    trust_model: bool = False,
    max_memory_gb: float = 16.0,
    max_time: float = 900.0,
) -> "Bundle":
    """Import a model file, a SavedModel folder or `app:NAME` into the bundle folder `output`, and return the bundle.

    `size` is (height, width) in pixels, or (height, width, channels), `classes` a file of class names in output order.
    None leaves the choice to the model file or a default. `trust_model` allows code in a Keras file to run. TensorFlow
    runs in another process, without network, with at most `max_memory_gb` GiB and `max_time` seconds. Raises
    NotABundle, ModelRefused, BadLabels, WrongUsage, StorageFailed and MissingExtra."""
    from hybrid_batch.inference.model.importing.importer import ImportSettings
    from hybrid_batch.inference.model.importing.sandbox.isolated_import import import_isolated
    from hybrid_batch.inference.model.importing.sandbox.limits import GIBIBYTE, ImportLimits

    path = None if classes is None else Path(classes)
    settings = ImportSettings(scale, resize, colour, size, path, weights, trust_model)
    result = import_isolated(model, Path(output), settings, ImportLimits(int(max_memory_gb * GIBIBYTE), max_time))
    missing = result.protections.describe_missing() if result.protections else None
    _warn([*result.notes, *(note for note in (missing, result.bundle.random_weights_note) if note)])
    return result.bundle


def run(
    images: str | Path | Sequence[str | Path],
    *,
    model: str | Path = "digits",
    split: str = "auto",
    tail: str = "local",
    codec: str | None = None,
    earliest_cut: str | None = None,
    max_accuracy_drop: float | None = None,
    spill: str | None = None,
    token_file: str | None = None,
    log: str | Path = "hybrid-batch-log",
    labels: str = "folders",
    batch_size: int = 32,
    shard_size: int = 512,
    in_flight: int | None = None,
    run_id: str | None = None,
    runtime: str = "openvino",
    limit: int | None = None,
    patience: float = 60.0,
    overwrite: bool = False,
) -> "RunResult":
    """Classify images (a folder, an s3:// prefix, files or a glob) and log every prediction exactly once.

    The parameters are the options of `hybrid-batch run`. `batch_size`, `shard_size` and `limit` are numbers of images,
    `max_accuracy_drop` is in points, `patience` in seconds. `overwrite` deletes an existing run of the same id without
    a question. Notes and the progress bar go to stderr. The same call continues an interrupted
    run. Raises WrongUsage, TailUnreachable, TailRefused, AwsRefused, AwsUnreachable, StorageFailed and Interrupted."""
    from hybrid_batch.inference.commands.run.options import RunOptions
    from hybrid_batch.inference.commands.run.run_images import run_images
    from hybrid_batch.inference.tails import check_address, tail_kind

    address = check_address(tail)
    return run_images(
        RunOptions(
            images=tuple(map(str, [images] if isinstance(images, str | Path) else images)),
            model=str(model),
            split=split,
            earliest_cut=earliest_cut,
            codec=codec,
            max_accuracy_drop=max_accuracy_drop,
            tail=address,
            spill=spill,
            token_file=token_file,
            log=str(log),
            labels=labels,
            batch_size=batch_size,
            shard_size=shard_size,
            in_flight=in_flight or tail_kind(address).default_in_flight,
            run_id=run_id,
            runtime=runtime,
            limit=limit,
            patience=patience,
            overwrite=overwrite,
        )
    )


def serve(
    model: str | Path = "digits",
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    runtime: str = "openvino",
    processes: int = 1,
    max_batch: int = 64,
    max_request_bytes: int = 64 << 20,
    max_pending: int = 128,
    spill: str | None = None,
    token_file: str | None = None,
    insecure: bool = False,
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the tails of a model over HTTP until SIGTERM or SIGINT, in the main thread.

    `port` 0 lets the system choose; `on_ready` is called with the URL. `max_batch` is in images, `max_pending` in
    requests. Clients send a token of `token_file`; an address that is not a loopback address needs it, or `insecure`.
    Raises NotABundle, WrongUsage, StorageFailed and
    MissingExtra."""
    from hybrid_batch.inference.model.importing.resolve_model import resolve_model
    from hybrid_batch.inference.serving.http.access.access_settings import AccessSettings
    from hybrid_batch.inference.serving.http.async_handler import ServerSettings
    from hybrid_batch.inference.serving.http.launch import serve as launch

    access = AccessSettings(token_file, is_open=insecure)
    settings = ServerSettings(
        resolve_model(str(model)), runtime, max_batch, max_request_bytes, max_pending, spill=spill, access=access
    )
    launch(settings, host, port, processes, on_ready)


def evaluate(
    *runs: str | Path, by: Sequence[str] = (), engine: str = "inline", skip_unreadable: bool = False
) -> "Report":
    """Evaluate runs together and return the report, the content of report.json.

    A run is a run folder, or a log that holds a single run; local or s3://. The report also has slices by the columns
    `by`. `engine` is inline, mrjob or spark. Raises NotARun, WrongUsage, StorageFailed and MissingExtra."""
    from hybrid_batch.jobs.engines.dispatch import EngineChoice, evaluate_runs

    uris, notes = [str(uri) for uri in runs], list[str]()
    report = evaluate_runs(uris, by, notes.append, EngineChoice(engine), skip_unreadable=skip_unreadable).report
    _warn(notes)
    return report


def compare(
    run_a: str | Path,
    run_b: str | Path,
    *,
    by: Sequence[str] = (),
    engine: str = "inline",
    skip_unreadable: bool = False,
) -> "Comparison":
    """Compare two runs over the same images and return the comparison, the content of `hybrid-batch compare --json`.

    Parameters and errors are those of `evaluate`."""
    from hybrid_batch.jobs.engines.dispatch import EngineChoice, compare_runs

    uris, notes = (str(run_a), str(run_b)), list[str]()
    comparison = compare_runs(uris, by, notes.append, EngineChoice(engine), skip_unreadable=skip_unreadable)
    _warn(notes)
    return comparison


def open_run(uri: str | Path) -> "RunFolder":
    """Open a run folder, or the single run of a log; local or s3://.

    `records()` returns the records as an Arrow table, `records().to_pandas()` as a pandas frame. Raises NotARun,
    WrongUsage and StorageFailed."""
    from hybrid_batch.data.log.runs import open_runs

    return open_runs(str(uri))[0]


def _warn(notes: Iterable[str]) -> None:
    """Issue the notes of a function as warnings at its caller."""
    for note in notes:
        warnings.warn(note, stacklevel=3)
