"""Compare two runs in threads of this process, one for each core; the shuffle uses files on the local disk."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from hybrid_batch.data.errors import StorageFailed
from hybrid_batch.evaluation.comparison.run_join import JoinCounts, merge_join_counts
from hybrid_batch.jobs.input.comparison_input import ComparisonInput, SidePart, join_bucket, partition_part


def compare(runs: ComparisonInput) -> JoinCounts:
    """The counts of two runs. A thread has one bucket in memory. Raises StorageFailed when the disk is full."""
    lock = Lock()
    with TemporaryDirectory(prefix="hybrid-batch-") as folder, ThreadPoolExecutor(os.cpu_count()) as pool:

        def shuffle(part: SidePart) -> None:
            for bucket, piece in partition_part(part, runs.buckets, runs.by, runs.skip_unreadable):
                with lock, (Path(folder) / str(bucket)).open("ab") as file:
                    file.write(piece + b"\n")

        def join(path: Path) -> JoinCounts:
            with path.open("rb") as file:
                return join_bucket((line.rstrip(b"\n") for line in file), runs.by)

        try:
            list(pool.map(shuffle, runs.parts))
            return merge_join_counts(pool.map(join, sorted(Path(folder).iterdir())))
        except OSError as error:
            raise StorageFailed(
                f"Cannot shuffle through {folder} ({error.strerror}); set TMPDIR to a folder with more room."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)  # after an interrupt, only the current tasks finish
