"""The tensors of a frame: encode the boundary tensors or image files of a batch, and decode them at the tail."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.model.datatypes import BYTES, FLOAT_DATATYPES, NUMPY_DTYPES, join_bytes, split_bytes
from hybrid_batch.inference.protocol.codecs import CALIBRATED, IMAGE, TENSOR_CODECS, is_calibrated, open_tensor_codec
from hybrid_batch.inference.protocol.codecs.codec import NativeCodec, Pack, PackedCodec, TensorCodec
from hybrid_batch.inference.protocol.wire import Frame, WireTensor, is_shape

MAX_BATCH = 1024
MAX_DECODED_BYTES = 1 << 29
SERVED_BYTES = 64 << 20  # of the tensors of several images in one request, which every server decodes
_FP16_MAX = float(np.finfo(np.float16).max)
_OWN_DATATYPE = NativeCodec(None)


@dataclass(frozen=True, slots=True)
class FrameCost:
    """What decoding the tensors of a frame takes: the largest memory, without the frame's data, and the time in units
    of a JPEG's pixel."""

    peak_bytes: int
    work: int


def encode(codec: str, boundary: Sequence[TensorSpec], tensors: Sequence[np.ndarray]) -> tuple[WireTensor, ...]:
    """Encode the tensors of a batch, each (batch, …) and in the boundary's order.

    Raises WrongUsage for a codec that does not send tensors, or is calibrated for another cut."""
    codecs: Sequence[TensorCodec]
    if is_calibrated(codec):
        from hybrid_batch.inference.protocol.codecs.calibrated import open_codecs

        name, codecs = CALIBRATED, open_codecs(codec, boundary)
    else:
        name, codecs = codec, [open_tensor_codec(codec)] * len(boundary)
    return tuple(
        _encode(name, one if spec.datatype in FLOAT_DATATYPES else _OWN_DATATYPE, spec, tensor)
        for spec, tensor, one in zip(boundary, tensors, codecs, strict=True)
    )


def encode_images(spec: TensorSpec, files: Sequence[bytes]) -> tuple[WireTensor, ...]:
    """Encode image files, for the cut whose only boundary tensor is the model's input `spec`."""
    return (WireTensor(spec.name, BYTES, (len(files),), join_bytes(files), {"codec": IMAGE}),)


def holds_images(frame: Frame) -> bool:
    """Whether a frame holds image files instead of tensors."""
    return len(frame.tensors) == 1 and frame.tensors[0].datatype == BYTES


def image_files(spec: TensorSpec, frame: Frame) -> list[memoryview]:
    """Return the image files of a frame, as views of its data. Raises InvalidFrame."""
    return split_bytes(frame.tensors[0].data, frame_batch_size([spec], frame))


def frame_batch_size(boundary: Sequence[TensorSpec], frame: Frame) -> int:
    """Return the number of images in a frame.

    Raises InvalidFrame unless the frame holds the tensors of the boundary, or image files for its only tensor, and
    the decoded batch is within MAX_BATCH and MAX_DECODED_BYTES."""
    received = {tensor.name: tensor for tensor in frame.tensors}
    if received.keys() != {spec.name for spec in boundary}:
        names = ", ".join(repr(spec.name) for spec in boundary)
        raise InvalidFrame(f"The tensors are {', '.join(map(repr, received))}; this cut takes {names}.")
    if holds_images(frame) and len(boundary) == 1:
        batch = math.prod(frame.tensors[0].shape)
        _check_size(boundary, batch)
        return batch
    shapes = [_declared_shape(spec, received[spec.name]) for spec in boundary]
    batches = {shape[0] for shape in shapes}
    if len(batches) != 1:
        raise InvalidFrame(f"The tensors hold different numbers of images: {sorted(batches)}.")
    batch = batches.pop()
    _check_size(boundary, batch)
    return batch


def decode(boundary: Sequence[TensorSpec], frame: Frame) -> list[np.ndarray]:
    """Decode the tensors of a frame, each (batch, …) of its own datatype and in the boundary's order.

    They may be read-only views of the frame's data. Raises InvalidFrame, before it allocates memory, if a tensor
    does not match the boundary."""
    batch = frame_batch_size(boundary, frame)
    received = {tensor.name: tensor for tensor in frame.tensors}
    return [_decode(spec, received[spec.name], batch) for spec in boundary]


def decoded_bytes(boundary: Sequence[TensorSpec], batch: int) -> int:
    """Return the bytes of a batch of boundary tensors in memory."""
    return batch * sum(spec.elements * NUMPY_DTYPES[spec.datatype].itemsize for spec in boundary)


def decoding_cost(boundary: Sequence[TensorSpec], frame: Frame) -> FrameCost:
    """The cost of `decode` for a frame that `frame_batch_size` has checked. Tensors in their own datatype are
    counted too, because they are copied unless their data are aligned."""
    received = {tensor.name: tensor for tensor in frame.tensors}
    batch = frame_batch_size(boundary, frame)
    results = extra = work = 0
    for spec in boundary:
        tensor, shape, dtype = received[spec.name], (batch, *spec.shape), NUMPY_DTYPES[spec.datatype]
        size = math.prod(shape) * dtype.itemsize
        results += size
        codec = _find_codec(tensor.parameters.get("codec"))
        if codec is not None:
            extra = max(extra, codec.peak_bytes(shape, dtype) - size)
            work += math.prod(shape) * codec.weight
    return FrameCost(results + extra, work)


def _encode(name: str, codec: TensorCodec, spec: TensorSpec, tensor: np.ndarray) -> WireTensor:
    if isinstance(codec, PackedCodec):
        return _packed(name, codec.pack, spec, tensor)
    datatype = codec.datatype or spec.datatype
    if datatype == "FP16" != spec.datatype:
        tensor = np.clip(tensor, -_FP16_MAX, _FP16_MAX)
    array = np.ascontiguousarray(tensor, NUMPY_DTYPES[datatype])
    return WireTensor(spec.name, datatype, tensor.shape, array.reshape(-1).view(np.uint8).data)


def _packed(name: str, pack: Pack, spec: TensorSpec, tensor: np.ndarray) -> WireTensor:
    data = pack(tensor)
    parameters: dict[str, Any] = {"codec": name, "shape": list(tensor.shape), "datatype": spec.datatype}
    return WireTensor(spec.name, "UINT8", (len(data),), data, parameters)


def _decode(spec: TensorSpec, tensor: WireTensor, batch: int) -> np.ndarray:
    shape, dtype = (batch, *spec.shape), NUMPY_DTYPES[spec.datatype]
    codec = _find_codec(tensor.parameters.get("codec"))
    if codec is not None:
        return codec.unpack(tensor.data, shape, dtype)
    array = np.frombuffer(tensor.data, NUMPY_DTYPES[tensor.datatype]).reshape(shape).astype(dtype, copy=False)
    return np.require(array, requirements="A")


def _find_codec(name: object) -> PackedCodec | None:
    """Return the packed codec by the name in a frame, to decode; None for other names."""
    if name == CALIBRATED:
        from hybrid_batch.inference.protocol.codecs.calibrated import DECODER

        return DECODER
    codec = open_tensor_codec(name) if isinstance(name, str) and name in TENSOR_CODECS else None
    return codec if isinstance(codec, PackedCodec) else None


def _declared_shape(spec: TensorSpec, tensor: WireTensor) -> tuple[int, ...]:
    """Return batch and shape of a tensor after decoding, as the sender declares them."""
    codec = tensor.parameters.get("codec")
    packed = _find_codec(codec) is not None
    if codec is not None and not packed:
        known = [name for name in (*TENSOR_CODECS, CALIBRATED) if _find_codec(name)]
        raise InvalidFrame(f"Tensor {spec.name!r} has codec {codec!r}; use one of {', '.join(known)}, or none for raw.")
    if packed and (tensor.datatype != "UINT8" or spec.datatype not in FLOAT_DATATYPES):
        raise InvalidFrame(
            f"Tensor {spec.name!r} has codec {codec} in {tensor.datatype} for {spec.datatype}; send floats as UINT8."
        )
    datatype = tensor.parameters.get("datatype") if packed else tensor.datatype
    half = datatype == "FP16" and spec.datatype in FLOAT_DATATYPES and not packed
    if datatype != spec.datatype and not half:
        raise InvalidFrame(f"Tensor {spec.name!r} is {datatype!r}; this cut takes {spec.datatype}.")
    shape = tensor.parameters.get("shape") if packed else list(tensor.shape)
    if not isinstance(shape, list) or not is_shape(shape) or shape[1:] != list(spec.shape) or not shape:
        raise InvalidFrame(
            f"Tensor {spec.name!r} has shape {shape!r}; this cut takes [batch, {str([*spec.shape])[1:]}."
        )
    return tuple(shape)


def _check_size(boundary: Sequence[TensorSpec], batch: int) -> None:
    size = decoded_bytes(boundary, batch)
    if batch > MAX_BATCH or size > MAX_DECODED_BYTES:
        raise InvalidFrame(
            f"A frame of {batch} images ({size} bytes decoded) is too large; "
            f"send at most {MAX_BATCH} images and {MAX_DECODED_BYTES} bytes."
        )
