"""Reading and decoding of a batch's images."""

import time
from collections.abc import Iterable, Iterator

import numpy as np

from hybrid_batch.data.errors import StorageFailed, TooLarge
from hybrid_batch.data.images.decode import UndecodableImage, decode_sized, image_size
from hybrid_batch.data.images.decoding.pixel_budget import RUNNER_BUDGET, PixelBudget
from hybrid_batch.data.log.records import hash_image
from hybrid_batch.data.storage.storage import Storage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.datatypes import NUMPY_DTYPES
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.runner.batch import Batch, ImageFiles, Pixels
from hybrid_batch.inference.runner.split import UploadSplit

IMAGE_LIMIT_BYTES = 256 << 20
UPLOAD_LIMIT_BYTES = 32 << 20  # servers reject requests above 64 MiB


class ImageLoader:
    """Loads the images below `root` within a budget. An image that cannot be read or decoded gets an entry in
    its batch's `errors`.

    Raises StorageFailed when the storage itself is unavailable."""

    def __init__(
        self, root: Storage, bundle: Bundle, upload_limit_bytes: int, pixels: PixelBudget = RUNNER_BUDGET
    ) -> None:
        self._root, self._bundle, self._upload_limit_bytes = root, bundle, upload_limit_bytes
        self._budget = pixels
        self._dtype = NUMPY_DTYPES[bundle.input.datatype]

    def load(self, batch: Batch) -> ImageFiles | Pixels:
        """The images as the batch's split needs them: files to upload, or pixels."""
        match batch.split:
            case UploadSplit(codecs.IMAGE):
                return ImageFiles([file for _, file in self._read_sized(batch, self._upload_limit_bytes)])
            case UploadSplit(codec) if codec in codecs.IMAGE_CODECS:
                return ImageFiles(list(self._recompress(batch, codec)))
            case _:
                return self._decode(batch, self._read(batch, IMAGE_LIMIT_BYTES))

    def decode_upload(self, batch: Batch, upload: ImageFiles, codec: str) -> Pixels:
        """The pixels of a batch that was loaded for upload with `codec`. Recompressed files are read again as stored,
        because the record states that no codec was used."""
        if codec == codecs.IMAGE:
            return self._decode(batch, zip(batch.ok_positions, upload.files, strict=True))
        return self._decode(batch, self._read(batch, IMAGE_LIMIT_BYTES))

    def _recompress(self, batch: Batch, codec: str) -> Iterator[bytes]:
        for position, file in self._read_sized(batch, IMAGE_LIMIT_BYTES):
            try:
                yield codecs.open_image_codec(codec).recompress(file, self._bundle.preprocessing, self._budget)
            except UndecodableImage as error:
                batch.errors[position] = str(error)

    def _decode(self, batch: Batch, files: Iterable[tuple[int, bytes]]) -> Pixels:
        pixels = np.empty((len(batch.images), *self._bundle.input.shape), self._dtype)
        decoded = 0
        for position, file in files:
            try:
                image = decode_sized(file, self._bundle.preprocessing, self._budget)
                pixels[decoded], batch.sizes[position] = image.pixels, image.original
                decoded += 1
            except UndecodableImage as error:
                batch.errors[position] = str(error)
        return Pixels(pixels[:decoded])

    def _read_sized(self, batch: Batch, limit_bytes: int) -> Iterator[tuple[int, bytes]]:
        """As `_read`, for files that are not decoded here: their sizes come from their headers."""
        for position, file in self._read(batch, limit_bytes):
            if (size := image_size(file, self._budget)) is not None:
                batch.sizes[position] = size
            yield position, file

    def _read(self, batch: Batch, limit_bytes: int) -> Iterator[tuple[int, bytes]]:
        """The positions and files of the images without an error, one at a time."""
        for position, name in enumerate(batch.images):
            if position in batch.errors:
                continue
            if position == len(batch.started_ns):
                batch.started_ns.append(time.perf_counter_ns())
            try:
                file = self._root.read(name, limit_bytes)
            except FileNotFoundError:
                batch.errors[position] = "the file is gone"
            except TooLarge:
                batch.errors[position] = f"the file has more than {limit_bytes} bytes"
            except StorageFailed as error:
                if not any(entry.name == name for entry in self._root.list_files(name)):
                    raise  # the storage is unavailable, not this image alone
                batch.errors[position] = str(error)
            else:
                batch.image_bytes[position], batch.hashes[position] = len(file), hash_image(file)
                yield position, file
