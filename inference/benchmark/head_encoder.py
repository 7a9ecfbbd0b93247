"""The images of a benchmark, and the work of this machine on each of them: decode, head, encode."""

import time
from dataclasses import dataclass

import numpy as np

from hybrid_batch.data.errors import NoImages
from hybrid_batch.data.images.decode import UndecodableImage, decode
from hybrid_batch.data.images.images import ImageSet
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.datatypes import NUMPY_DTYPES
from hybrid_batch.inference.model.runtimes import Runtime, compile_head
from hybrid_batch.inference.planner.profile.sample import sample_files
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.wire import BUNDLE, Body, Frame, WireTensor, encode_request
from hybrid_batch.inference.runner.split import CutSplit, RemoteSplit, UploadSplit


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """The frame of one image, and the µs that decoding, head and encoding took."""

    frame: Frame
    local_us: float

    def body(self, bundle: Bundle) -> Body:
        """The HTTP body of a request with this frame, which names the bundle by its hash."""
        frame = self.frame
        return encode_request(Frame(frame.tensors, frame.id, {**frame.parameters, BUNDLE: bundle.sha256}))


class HeadEncoder:
    """Computes the head of one split, compiled on construction, and encodes its boundary; for an upload it takes the
    image's file as it is."""

    def __init__(self, bundle: Bundle, runtime: Runtime, split: RemoteSplit) -> None:
        self._bundle, self._split = bundle, split
        self._head = compile_head(runtime, bundle, split.cut) if isinstance(split, CutSplit) else None

    def encode(self, file: bytes) -> EncodedFrame:
        """The frame of an image file. Raises UndecodableImage."""
        began = time.perf_counter_ns()
        return EncodedFrame(Frame(self._tensors(file)), (time.perf_counter_ns() - began) / 1000)

    def _tensors(self, file: bytes) -> tuple[WireTensor, ...]:
        if self._head is None or isinstance(self._split, UploadSplit):
            return wire_tensors.encode_images(self._bundle.input, [file])
        pixels = np.asarray(decode(file, self._bundle.preprocessing), NUMPY_DTYPES[self._bundle.input.datatype])
        return wire_tensors.encode(self._split.codec, self._split.cut.boundary, self._head([pixels[np.newaxis]]))


def read_sample_images(bundle: Bundle, images: ImageSet) -> list[bytes]:
    """The files of up to 16 images, evenly spaced over the set. Raises NoImages if none of these can be decoded."""
    files = [file for file in sample_files(images) if _is_decodable(bundle, file)]
    if not files:
        raise NoImages(
            f"None of {min(16, images.table.num_rows)} sampled images of {images.root.uri} can be decoded; "
            "choose other images."
        )
    return files


def _is_decodable(bundle: Bundle, file: bytes) -> bool:
    try:
        decode(file, bundle.preprocessing)
    except UndecodableImage:
        return False
    return True
