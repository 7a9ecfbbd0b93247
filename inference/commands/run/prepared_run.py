"""A run before its tail is needed: the model, the images, the split and the run's folder."""

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial

from hybrid_batch.data.errors import NotARun, WrongUsage
from hybrid_batch.data.images.images import ImageSet
from hybrid_batch.data.images.labels import find_labelled_images
from hybrid_batch.data.log.own_runs import describe_foreign, note_own_run
from hybrid_batch.data.log.runs import RunFolder, find_runs, run_folder
from hybrid_batch.data.storage.local_storage import LocalStorage
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.data.terminal.default_outputs import check_default
from hybrid_batch.data.terminal.messages import print_message, print_note
from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.inference.commands.run.options import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_LOG,
    DEFAULT_SHARD_SIZE,
    RunOptions,
)
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cache import cache_folder
from hybrid_batch.inference.model.cuts import INPUT_CUT
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.runner.run_identity import (
    RunIdentity,
    RunInputs,
    location,
    open_run,
    read_run,
    run_metadata,
)
from hybrid_batch.inference.runner.split import AUTO, LOCAL, REMOTE, LocalSplit, Split, choose_split, split_at
from hybrid_batch.inference.runner.totals import Totals
from hybrid_batch.inference.tails import redacted_address, tail_kind

DEFAULT_DROP_POINTS = 0.5


@dataclass(frozen=True)  # without slots, so that the folder is computed once
class PreparedRun:
    """A run whose options are checked and whose model and images are read. Nothing is written, sent or compiled yet.

    `split` is that of the first batch, and `reason` why it was chosen, None if the user chose it."""

    options: RunOptions
    bundle: Bundle
    images: ImageSet
    split: Split
    reason: str | None = None

    @property
    def needs_calibration(self) -> bool:
        """Whether the codec of the fixed split, and with it the run's id, is still to be calibrated."""
        return self.options.codec == AUTO and not self.options.is_adaptive and not isinstance(self.split, LocalSplit)

    @property
    def codec(self) -> str:
        """The codec in the run's identity. The batches of an adaptive run may use different ones."""
        options = self.options
        if not options.is_adaptive:
            return self.split.codec
        if options.codec != AUTO:
            return options.codec or codecs.FP16
        drop = DEFAULT_DROP_POINTS if options.max_accuracy_drop is None else options.max_accuracy_drop
        return f"auto {drop:g}"

    @property
    def earliest_cut(self) -> str | None:
        """The id of --earliest-cut; None without the option."""
        name = self.options.earliest_cut
        return None if name is None else self.bundle.cut(name).id

    @property
    def identity(self) -> RunIdentity:
        """The settings that decide the predictions. A default cut counts as if it were given: an adaptive run with the
        same options has another identity."""
        split = self.split.name if _takes_default_cut(self.options) else self.options.split
        return RunIdentity(self.bundle.sha256, split, self.codec, self.options.runtime)

    @cached_property
    def folder(self) -> RunFolder:
        """The folder of the run, which need not exist; its default id is a hash of all images. Raises WrongUsage for an
        invalid id."""
        run_id = self.options.run_id or self.identity.run_id(self.images.table)
        return run_folder(open_storage(self.options.log), run_id)

    def open(self) -> RunInputs:
        """Create the run's folder, or open it to continue the run, with a note in the user's cache before. Raises
        SettingsMismatch."""
        options = self.options
        tail = redacted_address(options.tail)
        settings = {
            "batch_size": options.batch_size,
            "in_flight": options.in_flight,
            "limit": options.limit,
            "earliest_cut": self.earliest_cut,
        }
        metadata = run_metadata(self.bundle, self.images, tail, None if options.is_adaptive else self.split) | {
            "settings": settings
        }
        place = location(self.images.root)
        note = partial(note_own_run, cache_folder("own"), self.folder, place)
        return open_run(self.folder, self.identity, self.images, options.shard_size, metadata, note=note)

    def describe_foreign(self) -> str | None:
        """A sentence about the existing run if another user began it; None if this user did, or no run exists."""
        if self.folder.settings_sha256() is None:
            return None
        return describe_foreign(cache_folder("own"), [self.folder])

    def existing(self) -> RunInputs | None:
        """The inputs of the existing run; None if it has not begun. Writes nothing. Raises SettingsMismatch; not for a
        codec that is still to be calibrated."""
        identity = self.identity
        if self.needs_calibration:
            with suppress(NotARun):
                stored = self.folder.settings().get("identity", {})
                identity = replace(identity, codec=stored.get("codec", identity.codec))
        return read_run(self.folder, identity, self.images)

    def finished_totals(self) -> Totals | None:
        """The totals of the run if it is complete, from its log. Writes nothing. Raises SettingsMismatch."""
        inputs, folder = self.existing(), self.folder
        return Totals.of_run(folder) if inputs is not None and inputs.is_complete(folder) else None


def note_other_images(run: PreparedRun) -> None:
    """Note that the log has a run with the same settings and other images of the same folder, unless the run itself
    exists.

    Its predictions are not used: a run holds exactly the images of its list. Looks in local logs only, because listing
    a log on S3 takes a request for every thousand parts."""
    log = open_storage(run.options.log)
    if not isinstance(log, LocalStorage) or run.options.run_id:
        return
    runs = [] if (found := find_runs(log)) and run.folder.uri in {one.uri for one in found} else found
    wanted = {"identity": asdict(run.identity), "images": location(run.images.root)}
    same = [one for one in runs if wanted.items() <= one.settings().items()]
    if same:
        count, number = (format_count(len(table), "image") for table in (same[-1].images(), run.images.table))
        print_note(
            f"{same[-1].uri} has the same settings and {count}, but not the same images; this is another run, and all "
            f"of its {number} are classified."
        )


def prepare_run(options: RunOptions) -> PreparedRun:
    """Read the model and list the images, with notes on stderr. Raises WrongUsage and StorageFailed."""
    if options.log == DEFAULT_LOG:
        check_default(options.log, "--log")
    bundle = resolve_model(options.model, print_message)
    _check(options, bundle)
    split = None if _takes_default_cut(options) else _split(options, bundle)
    images = find_labelled_images(options.images, options.labels, bundle.labels, print_message)
    if options.limit is not None:
        images = replace(images, table=images.table.slice(0, options.limit))
    if split is not None:
        return PreparedRun(options, bundle, images, split)
    from hybrid_batch.inference.planner.plan.default_cut import default_cut

    chosen = default_cut(bundle, images, options.codec)
    return PreparedRun(options, bundle, images, split_at(chosen.cut, chosen.codec or codecs.FP16), chosen.reason)


def calibrated(run: PreparedRun) -> PreparedRun:
    """The run with the codec that --codec auto chooses for its fixed split; it is measured, on this machine."""
    if not run.needs_calibration:
        return run
    from hybrid_batch.inference.model.runtimes import open_runtime
    from hybrid_batch.inference.planner.plan.accuracy_constraint import make_calibrator

    options, cut = run.options, run.bundle.cut(run.split.name)
    runtime = open_runtime(options.runtime, run.bundle)
    calibrate = make_calibrator(run.bundle, runtime, run.images, options.max_accuracy_drop, print_message)
    return replace(run, split=split_at(cut, calibrate(cut).codec))


def settings_not_applied(run: PreparedRun, totals: Totals) -> tuple[str, ...]:
    """The options that differ from those of a complete run and do not change its predictions, each with the run's.

    An option with its default value counts as not given."""
    options, settings = run.options, run.folder.settings()
    stored = settings.get("settings", {})
    tails = totals.tails or {str(settings.get("tail")): 0}
    tail = redacted_address(options.tail)
    differing = []
    if options.split != LOCAL and tail not in tails and tail != settings.get("tail"):
        differing.append(f"--tail {tail} (this run's tail: {', '.join(sorted(tails))})")
    for name, wanted, default in (
        ("batch_size", options.batch_size, DEFAULT_BATCH_SIZE),
        ("shard_size", options.shard_size, DEFAULT_SHARD_SIZE),
        ("in_flight", options.in_flight, tail_kind(options.tail).default_in_flight),
    ):
        used = stored.get(name, settings.get(name))
        if used is not None and wanted not in (used, default):
            differing.append(f"--{name.replace('_', '-')} {wanted} (this run: {used})")
    earliest = stored.get("earliest_cut", "unknown")
    if run.earliest_cut not in (None, earliest):
        differing.append(f"--earliest-cut {options.earliest_cut} (this run: {earliest or 'none'})")
    return tuple(differing)


def _takes_default_cut(options: RunOptions) -> bool:
    return options.split == AUTO and options.tail == LOCAL


def _split(options: RunOptions, bundle: Bundle) -> Split:
    """The split of a run that is not adaptive; an adaptive one starts locally, unless it sends images."""
    codec = None if options.codec == AUTO else options.codec
    if options.is_adaptive and codec not in codecs.IMAGE_CODECS:
        return LocalSplit()
    if options.split != LOCAL:
        return choose_split(bundle, options.split, codec)
    unused = {"--tail": options.tail != LOCAL, "--codec": options.codec is not None}
    if names := [name for name, is_given in unused.items() if is_given]:
        verb = "is" if len(names) == 1 else "are"
        print_note(f"--split local runs the whole model on this machine; {' and '.join(names)} {verb} not used.")
    return LocalSplit()


def _check(options: RunOptions, bundle: Bundle) -> None:
    """Raises WrongUsage for options that contradict each other, CutNotFound for an unknown --earliest-cut."""
    sends_images = options.split in (REMOTE, INPUT_CUT) and options.codec in (None, *codecs.IMAGE_CODECS)
    if tail_kind(options.tail).accepts_only_images and not sends_images:
        *others, last = codecs.IMAGE_CODECS
        raise WrongUsage(
            f"{options.tail} accepts only images; use --split remote with --codec {', '.join(others)} or {last}."
        )
    if options.earliest_cut and not options.is_adaptive:
        raise WrongUsage("--earliest-cut needs --split auto and a remote --tail; choose a fixed cut with --split.")
    if options.earliest_cut:
        bundle.cut(options.earliest_cut)
    if _takes_default_cut(options) and options.codec in codecs.IMAGE_CODECS:
        raise WrongUsage(f"--codec {options.codec} sends image files; it needs --split remote, or a remote --tail.")
    if options.max_accuracy_drop is not None and options.codec != AUTO:
        raise WrongUsage("--max-accuracy-drop needs --codec auto, which chooses the codec within the limit.")
