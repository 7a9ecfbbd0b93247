"""Compare on this machine alone, with a thread for each core; the shuffle goes through files on its disk."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from hybrid_batch.data.errors import StorageFailed
from hybrid_batch.evaluation.comparison.run_join import Bag, merge
from hybrid_batch.jobs.input.comparison_input import Comparing, SidePart, deal_part, join_bucket


def compare(comparing: Comparing) -> Bag:
    """The bag of two runs. Each thread holds one bucket. Raises StorageFailed when there is no room for the shuffle."""
    lock = Lock()
    with TemporaryDirectory(prefix="hybrid-batch-") as folder, ThreadPoolExecutor(os.cpu_count()) as pool:

        def deal(part: SidePart) -> None:
            for bucket, piece in deal_part(part, comparing.buckets, comparing.by, comparing.skip_bad):
                with lock, (Path(folder) / str(bucket)).open("ab") as file:
                    file.write(piece + b"\n")

        def join(path: Path) -> Bag:
            with path.open("rb") as file:
                return join_bucket((line.rstrip(b"\n") for line in file), comparing.by)

        try:
            list(pool.map(deal, comparing.parts))
            return merge(pool.map(join, sorted(Path(folder).iterdir())))
        except OSError as error:
            raise StorageFailed(
                f"Cannot shuffle through {folder} ({error.strerror}); set TMPDIR to a folder with more room."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)  # after an interrupt, only the work in hand is finished
