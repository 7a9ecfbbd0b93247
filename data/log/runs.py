"""The run folder `LOG/run=ID/`: settings, list of images, and one part per completed shard.

| object | content | written |
|---|---|---|
| `_run.json` | settings and the version of this format | first, once |
| `_images.pq` | the images in order, which determines the shards | second, once |
| `part-00000.parquet` … | the records of one shard | once each |
| `_SUCCESS` | totals as JSON | last |

Each object is written completely or not at all, so a run resumes by computing the missing parts. Names that begin with
`_` are ignored by pandas, Spark and Athena, and only parts end in `.parquet`, for readers that go by a pattern: all of
them read a run or a whole log as one table.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hybrid_batch.data.errors import NotARun, TooLarge, WrongUsage, one_line
from hybrid_batch.data.images.images import IMAGES_SCHEMA
from hybrid_batch.data.log.log_files import OtherVersion, count_images, read_images, read_records
from hybrid_batch.data.log.parquet.limits import BATCH_ROWS, MAX_WORD_BYTES, UnsafeParquet
from hybrid_batch.data.log.records import PART_NAME, SCHEMA
from hybrid_batch.data.log.run_files import MAX_FILE_BYTES, SETTINGS, TOTALS, FileTypes, parse_file
from hybrid_batch.data.log.schema_versions import READABLE_VERSIONS
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.data.storage.storage import Storage

RUN_FORMAT = 1
_ROWS = 8192  # read at once; a record has some 200 bytes
_PREFIX = "run="
_SETTINGS = "_run.json"
_IMAGES = "_images.pq"  # Parquet, under a name that the pattern *.parquet of other readers does not match
_FORMER_IMAGES = "_images.parquet"
_SUCCESS = "_SUCCESS"
_DEFAULT_ID = re.compile(r"run=[0-9a-f]{12}")  # as opposed to the name that a user chose
_REPAIR = "remove it and repeat the same `hybrid-batch run`."
_MAX_NAMES = 20
_REASON_CHARACTERS = 200
_RUN_ID = re.compile(r"[\w-][\w.-]{0,99}")
_PART = re.compile(r"part-(\d{5,})\.parquet")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run in a storage. Reading raises NotARun for missing or damaged files; every method raises StorageFailed."""

    storage: Storage

    @property
    def uri(self) -> str:
        return self.storage.uri

    @property
    def run_id(self) -> str:
        """The name of the folder without `run=`."""
        return self.uri.rstrip("/").rpartition("/")[2].removeprefix(_PREFIX)

    def create(self, settings: Mapping[str, Any], note: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
        """Write the settings unless the run has some, and return those of the run; the caller compares them with its
        own. Before that, `note` is called with the SHA-256 of the settings to write."""
        text = json.dumps({"format": RUN_FORMAT, **settings}, indent=2, ensure_ascii=False, sort_keys=True)
        note(hashlib.sha256(text.encode()).hexdigest())
        self.storage.write_once(_SETTINGS, text.encode())
        return self.settings()

    def freeze_images(self, images: pa.Table) -> pa.Table:
        """Write the list of images unless the run has one, and return that of the run. Raises WrongUsage for names and
        labels that no reader of the log accepts."""
        for name in ("image", "label"):
            longest = pc.max(pc.binary_length(images[name])).as_py() or 0
            if longest > MAX_WORD_BYTES:
                raise WrongUsage(
                    f"The longest {name} has {longest:,} bytes, and a log holds at most {MAX_WORD_BYTES:,}; shorten it."
                )
        if self._images_name() == _IMAGES:
            self.storage.write_once(_IMAGES, _parquet(images.cast(IMAGES_SCHEMA)))
        return self.images()

    def settings(self) -> dict[str, Any]:
        """Return the settings of the run."""
        settings = self._json(_SETTINGS, SETTINGS)
        if settings is None:
            raise NotARun(f"{self.uri} contains no run: {_SETTINGS} is missing; give a folder named run=….")
        if settings.pop("format", None) != RUN_FORMAT:
            raise NotARun(f"The run in {self.uri} does not have format {RUN_FORMAT}; use a matching version.")
        return settings

    def settings_sha256(self) -> str | None:
        """Return the SHA-256 of the file of the settings in hexadecimal digits; None if it is missing or too large."""
        try:
            return hashlib.sha256(self.storage.read(_SETTINGS, MAX_FILE_BYTES)).hexdigest()
        except (FileNotFoundError, TooLarge):
            return None

    def images(self) -> pa.Table:
        """Return the images of the run in order, a table of IMAGES_SCHEMA."""
        with self._reading(name := self._images_name()):
            return read_images(self.storage.open_input_file(name))

    def count_images(self) -> int:
        """Return the number of images of the run, from the footer of their list."""
        with self._reading(name := self._images_name()):
            return count_images(self.storage.open_input_file(name))

    def parts(self) -> dict[int, str]:
        """Return the names of the existing parts by shard number, in order."""
        matches = (_PART.fullmatch(entry.name) for entry in self.storage.list_files("part-"))
        return dict(sorted((int(match[1]), match[0]) for match in matches if match))

    def read_part(self, index: int) -> pa.Table:
        """Return the records of one shard, a table of SCHEMA."""
        return pa.Table.from_batches(self.read_batches(index), SCHEMA)

    def read_batches(self, index: int, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Yield the records of one shard, at most `rows` at once, with the columns of SCHEMA."""
        with self._reading(PART_NAME.format(index)), self.open_part(index) as source:
            yield from read_records(source, rows)

    def iter_records(self, rows: int = _ROWS) -> Iterator[pa.RecordBatch]:
        """Yield the records of all existing parts in the order of the images, as `read_batches` does."""
        for index in self.parts():
            yield from self.read_batches(index, rows)

    def records(self) -> pa.Table:
        """Return the records of all existing parts, a table of SCHEMA in the order of the images."""
        parts = [self.read_part(index) for index in self.parts()]
        return pa.concat_tables(parts).unify_dictionaries() if parts else SCHEMA.empty_table()

    def open_part(self, index: int) -> pa.NativeFile:
        """Open the file of one shard, to read it in batches or by column."""
        with self._reading(name := PART_NAME.format(index)):
            return self.storage.open_input_file(name)

    def commit(self, index: int, records: pa.Table) -> bool:
        """Write the records of one shard; return True if they were written now, False if the part existed."""
        return self.storage.write_once(PART_NAME.format(index), _parquet(records))

    def mark_complete(self, totals: Mapping[str, Any]) -> None:
        """Write the totals, which marks the run as complete. They replace earlier totals, because damaged parts may
        have been recomputed."""
        self.storage.replace(_SUCCESS, json.dumps(totals, sort_keys=True).encode())

    def totals(self) -> dict[str, Any] | None:
        """Return the totals of a complete run, None for an incomplete one."""
        return self._json(_SUCCESS, TOTALS)

    def _images_name(self) -> str:
        """The name of the list of images; older runs have the former one."""
        is_former = any(entry.name == _FORMER_IMAGES for entry in self.storage.list_files(_FORMER_IMAGES))
        return _FORMER_IMAGES if is_former else _IMAGES

    def _json(self, name: str, types: FileTypes) -> dict[str, Any] | None:
        try:
            return parse_file(self.storage.read(name, MAX_FILE_BYTES), types)
        except FileNotFoundError:
            return None
        except TooLarge as error:
            raise NotARun(f"{self.uri}/{name} is too large for a file of a run; the run cannot be used.") from error
        except ValueError as error:
            reason = one_line(error)[:_REASON_CHARACTERS]
            raise NotARun(f"{self.uri}/{name} is damaged ({reason}); the run cannot be used.") from error

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        """Report what is wrong with a Parquet file of the run as NotARun."""
        try:
            yield
        except FileNotFoundError as error:
            raise NotARun(f"{self.uri} has no {name}; run the same command again to make it.") from error
        except OtherVersion as error:
            raise NotARun(
                f"The records of {self.uri}/{name} have schema version {error}, and this hybrid-batch reads versions "
                f"{READABLE_VERSIONS[0]} to {READABLE_VERSIONS[-1]}; use a newer one."
            ) from error
        except UnsafeParquet as error:
            raise NotARun(f"{self.uri}/{name} is refused: {error}; {_REPAIR}") from error
        except (pa.ArrowException, OSError) as error:
            raise NotARun(f"{self.uri}/{name} is not a readable Parquet file ({one_line(error)}); {_REPAIR}") from error


def run_folder(log: Storage, run_id: str) -> RunFolder:
    """Return the folder of one run in a log, which need not exist. Raises WrongUsage for an invalid `run_id`."""
    if not _RUN_ID.fullmatch(run_id):
        raise WrongUsage(f"{run_id!r} is not a run ID; use at most 100 letters, digits, '.', '_' and '-'.")
    return RunFolder(log.child(_PREFIX + run_id))


def find_runs(log: Storage) -> list[RunFolder]:
    """Return the runs of a log, sorted by name. Folders whose names are no run ids are none."""
    names = {
        folder
        for folder, _, name in (entry.name.partition("/") for entry in log.list_files(_PREFIX))
        if name == _SETTINGS and _RUN_ID.fullmatch(folder.removeprefix(_PREFIX))
    }
    return [RunFolder(log.child(name)) for name in sorted(names)]


def open_log(uri: str) -> list[RunFolder]:
    """Open the runs of a log, or one run folder, sorted by name. Raises NotARun where there is none, StorageFailed."""
    storage = open_storage(uri if "://" in uri else str(Path(uri).absolute()))
    if runs := find_runs(storage):
        return runs
    if "://" not in uri and not Path(uri).exists():
        near = get_close_matches(Path(uri).name, [path.name for path in Path(uri).absolute().parent.glob("*/")], 1)
        hint = f"did you mean {Path(uri).with_name(near[0])}?" if near else "name the folder of a run or of a log."
        raise NotARun(f"No folder {uri}; {hint}")
    run = RunFolder(storage)
    run.settings()  # raises NotARun
    return [run]


def open_runs(uri: str, all_runs: bool | None = None) -> list[RunFolder]:
    """Open a run folder, or the single run of a log.

    With `all_runs` a log of several runs is accepted too; None: the caller has no such option. Raises NotARun where a
    run is missing, WrongUsage for a log of several runs unless `all_runs`, StorageFailed."""
    runs = open_log(uri)
    if len(runs) > 1 and not all_runs:
        folders = sorted(
            (run.uri.rpartition("/")[2] for run in runs), key=lambda name: bool(_DEFAULT_ID.fullmatch(name))
        )
        names = ", ".join(folders[:_MAX_NAMES]) + (", …" if len(folders) > _MAX_NAMES else "")
        hint = "name one" if all_runs is None else "name one, or add --all-runs"
        raise WrongUsage(
            f"{uri} is a log of {len(runs)} runs ({names}); {hint} (`hybrid-batch runs {uri}` lists them)."
        )
    for run in runs:
        run.settings()  # raises NotARun
    return runs


def shards(images: int, shard_size: int) -> Iterator[tuple[int, range]]:
    """Yield the number of each shard and the positions of its images; all but the last have `shard_size` images."""
    for index, start in enumerate(range(0, images, shard_size)):
        yield index, range(start, min(start + shard_size, images))


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content
