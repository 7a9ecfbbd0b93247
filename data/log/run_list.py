"""The runs of a log in short, from the settings and totals of each: the records are not read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hybrid_batch.data.log.records import LOCAL_CUT, LOCAL_TAIL
from hybrid_batch.data.log.runs import RunFolder, shards


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One run. `cut` is its id and name, or the ids of an adaptive run's cuts; `tail` names the tails that computed its
    images, or that of an incomplete run. `images` are classified so far, of `images_total`; `errors` and `accuracy` are
    known for complete runs. Older runs have no `created_at` (ISO, UTC). `own`: this user began the run here.
    """

    run: str
    uri: str
    model: str | None
    cut: str | None
    codec: str | None
    tail: str | None
    images: int
    images_total: int
    errors: int | None
    accuracy: float | None
    created_at: str | None
    is_complete: bool
    weights: str | None
    own: bool

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def list_run(run: RunFolder, *, own: bool = False) -> RunEntry:
    """The entry of a run. Raises NotARun and StorageFailed."""
    settings, totals = run.settings(), run.totals()
    total = run.count_images()
    size, present = int(settings.get("shard_size", 1)), run.parts().keys()
    done = sum(len(rows) for shard, rows in shards(total, size) if shard in present)
    is_complete = totals is not None and done == total  # parts that were damaged may have been removed
    if totals is None or not is_complete:
        totals = {}
    labelled = totals.get("labelled")
    cut, codec = _cut_and_codec(settings, totals.get("cuts", {}))
    tails = totals.get("tails") or {LOCAL_TAIL if cut == LOCAL_CUT else settings.get("tail"): total}
    return RunEntry(
        run=run.run_id,
        uri=run.uri,
        model=settings.get("bundle_name"),
        cut=cut,
        codec=codec,
        tail=", ".join(sorted(tail for tail in tails if tail)) or None,
        images=done,
        images_total=total,
        errors=totals.get("errors"),
        accuracy=totals["correct"] / labelled if labelled and "correct" in totals else None,
        created_at=settings.get("created_at"),
        is_complete=is_complete,
        weights=settings.get("weights"),
        own=own,
    )


def _cut_and_codec(settings: Mapping[str, Any], used: Mapping[str, int]) -> tuple[str | None, str | None]:
    """From the settings of a fixed split, else from the totals, else as the user wrote them."""
    if "cut" in settings:
        cut, name = settings["cut"], settings.get("cut_name", "")
        return cut if name in ("", cut) else f"{cut} {name}", settings.get("codec")
    if used:
        pairs = [key.partition(" ") for key in sorted(used)]
        return ", ".join(dict.fromkeys(cut for cut, _, _ in pairs)), ", ".join(dict.fromkeys(c for _, _, c in pairs))
    identity = settings.get("identity", {})
    return identity.get("split"), identity.get("codec")
