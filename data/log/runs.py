"""The run folder `LOG/run=ID/`: what was asked, which images, and a part per finished shard.

| object | content | written |
|---|---|---|
| `_run.json` | settings, with the number of this format | first, once |
| `_images.parquet` | the images in order, which fixes the shards for ever | second, once |
| `part-00000.parquet` … | the records of one shard | once each |
| `_SUCCESS` | totals as JSON | last |

Whatever is interrupted, each of them stands whole or not at all; to resume is to do the missing parts.
Names that begin with `_` are ignored by Spark, Athena and DuckDB, so the folder is a table as it stands.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_batch.data.errors import NotARun, WrongUsage
from hybrid_batch.data.images.images import IMAGES_SCHEMA
from hybrid_batch.data.log.records import PART_NAME
from hybrid_batch.data.storage.storage import Storage

RUN_FORMAT = 1
_PREFIX = "run="
_SETTINGS = "_run.json"
_IMAGES = "_images.parquet"
_SUCCESS = "_SUCCESS"
_RUN_ID = re.compile(r"[\w-][\w.-]{0,99}")
_PART = re.compile(r"part-(\d{5,})\.parquet")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run in a storage. Reading raises NotARun for missing or broken files; all raise StorageFailed."""

    storage: Storage

    @property
    def uri(self) -> str:
        return self.storage.uri

    def claim(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Write the settings unless some stand; the settings that stand, for the caller to compare with its
        own before it goes on."""
        text = json.dumps({"format": RUN_FORMAT, **settings}, indent=2, ensure_ascii=False, sort_keys=True)
        self.storage.write_once(_SETTINGS, text.encode())
        return self.settings()

    def fix_images(self, images: pa.Table) -> pa.Table:
        """Write the list of images unless one stands; the list that stands."""
        self.storage.write_once(_IMAGES, _parquet(images.cast(IMAGES_SCHEMA)))
        return self.images()

    def settings(self) -> dict[str, Any]:
        """What was asked for."""
        settings = self._json(_SETTINGS)
        if settings is None:
            raise NotARun(f"There is no run in {self.uri}: it has no {_SETTINGS}; give a folder named run=….")
        if settings.pop("format", None) != RUN_FORMAT:
            raise NotARun(f"The run in {self.uri} has a format other than {RUN_FORMAT}; use a matching version.")
        return settings

    def images(self) -> pa.Table:
        """The images of the run in order, a table of IMAGES_SCHEMA."""
        table = self._table(_IMAGES)
        if table.schema.names != IMAGES_SCHEMA.names:
            raise NotARun(f"{self.uri}/{_IMAGES} has columns {table.schema.names}, not {IMAGES_SCHEMA.names}.")
        return table

    def parts(self) -> dict[int, str]:
        """The names of the parts that stand, by shard number, in order."""
        matches = (_PART.fullmatch(entry.name) for entry in self.storage.entries("part-"))
        return dict(sorted((int(match[1]), match[0]) for match in matches if match))

    def read_part(self, index: int) -> pa.Table:
        """The records of one shard."""
        return self._table(PART_NAME.format(index))

    def open_part(self, index: int) -> pa.NativeFile:
        """The file of one shard, for what is too large to hold or needs few of the columns."""
        name = PART_NAME.format(index)
        try:
            return self.storage.file(name)
        except FileNotFoundError as error:
            raise NotARun(f"{self.uri} has no {name}; run the same command again to make it.") from error

    def commit(self, index: int, records: pa.Table) -> bool:
        """Write the records of one shard whole: True when written now, False when they already stood."""
        return self.storage.write_once(PART_NAME.format(index), _parquet(records))

    def finish(self, totals: Mapping[str, Any]) -> None:
        """Say that every part stands. What stood is replaced: parts found damaged may have been made again."""
        self.storage.replace(_SUCCESS, json.dumps(totals, sort_keys=True).encode())

    def totals(self) -> dict[str, Any] | None:
        """What `finish` was given; None while the run is unfinished."""
        return self._json(_SUCCESS)

    def _json(self, name: str) -> dict[str, Any] | None:
        try:
            content = json.loads(self.storage.read(name))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise NotARun(f"{self.uri}/{name} is not JSON ({error}); the run cannot be used.") from error
        if not isinstance(content, dict):
            raise NotARun(f"{self.uri}/{name} is no JSON object; the run cannot be used.")
        return content

    def _table(self, name: str) -> pa.Table:
        # Read by its bytes: a data set reader would make a column of the folder's name `run=…`.
        try:
            return pq.ParquetFile(pa.BufferReader(self.storage.read(name))).read()
        except FileNotFoundError as error:
            raise NotARun(f"{self.uri} has no {name}; run the same command again to make it.") from error
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())
            raise NotARun(
                f"{self.uri}/{name} is not a readable Parquet file ({reason}); remove it, and the same "
                "`hybrid-batch run` makes it again."
            ) from error


def run_folder(log: Storage, run_id: str) -> RunFolder:
    """The folder of one run in a log, which need not exist yet. Raises WrongUsage for what names no folder."""
    if not _RUN_ID.fullmatch(run_id):
        raise WrongUsage(f"{run_id!r} names no run; use letters, digits, '.', '_' and '-', at most 100.")
    return RunFolder(log.child(_PREFIX + run_id))


def find_runs(log: Storage) -> list[RunFolder]:
    """Every run directly in a log, by name."""
    names = {
        folder for folder, _, name in (entry.name.partition("/") for entry in log.entries(_PREFIX)) if name == _SETTINGS
    }
    return [RunFolder(log.child(name)) for name in sorted(names)]


def shards(images: int, shard_size: int) -> Iterator[tuple[int, range]]:
    """Shard numbers and the positions of their images: all, in order, `shard_size` each but the last."""
    for index, start in enumerate(range(0, images, shard_size)):
        yield index, range(start, min(start + shard_size, images))


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content
