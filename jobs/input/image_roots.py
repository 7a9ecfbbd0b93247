"""Where the images of runs are: what this user gave to `run`, apart from what a log states."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from hybrid_batch.data.errors import HybridBatchError
from hybrid_batch.data.log.own_runs import noted_images
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.cache import cache_folder


@dataclass(frozen=True, slots=True)
class ImageRoots:
    """Folders or s3:// prefixes without repeats: `own` are those of runs that this user started on this machine,
    `stated` those that the logs of other runs state, which a stranger may have written."""

    own: tuple[str, ...]
    stated: tuple[str, ...]


def find_image_roots(runs: Iterable[str]) -> ImageRoots:
    """The roots of the images of runs, by their folders."""
    cache = cache_folder("own")
    own: dict[str, None] = {}
    stated: dict[str, None] = {}
    for run in dict.fromkeys(runs):
        if images := noted_images(cache, run):
            own[images] = None
            continue
        with suppress(HybridBatchError):
            images = RunFolder(open_storage(run)).settings().get("images")
            if images:
                stated[images] = None
    return ImageRoots(tuple(own), tuple(root for root in stated if root not in own))
