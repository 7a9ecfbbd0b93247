"""Codecs turn the boundary tensors of a batch into wire tensors and back; this is what they share, and the table.

`fp32` sends tensors raw in their own datatype, `fp16` sends floats in half the size (values beyond ±65504 are
clipped), `int8` and `q2` … `q6` are in files of their own, and `tuned-ID` is a calibration's. `image` sends the
pictures themselves, `jpeg90` and `jpeg75` send them at the model's input size, compressed anew. Tensors of whole
numbers travel raw under every codec. A result never depends on which images share a batch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from hybrid_batch.data.errors import BadFrame, WrongUsage
from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.model.datatypes import BYTES, FLOATS, NUMPY, join_bytes, split_bytes
from hybrid_batch.inference.protocol.codecs import int8, quantised
from hybrid_batch.inference.protocol.codecs.calibrated import TUNED, is_tuned, read_grids
from hybrid_batch.inference.protocol.codecs.jpeg import JPEG_QUALITY
from hybrid_batch.inference.protocol.wire import Frame, WireTensor, is_shape

MAX_BATCH = 1024
MAX_DECODED_BYTES = 1 << 29


@dataclass(frozen=True, slots=True)
class Packing:
    """Float tensors to bytes and back; `unpack` is told shape and dtype and raises BadFrame."""

    pack: "_Pack"
    unpack: "_Unpack"


_Pack = Callable[[np.ndarray], bytes]
_Unpack = Callable[[bytes | memoryview, tuple[int, ...], np.dtype], np.ndarray]
PACKINGS = {"int8": Packing(int8.pack, int8.unpack)} | {
    f"q{bits}": Packing(partial(quantised.pack, bits=bits), partial(quantised.unpack, bits=bits))
    for bits in reversed(quantised.BITS)
}
_UNPACKS: dict[str, _Unpack] = {name: packing.unpack for name, packing in PACKINGS.items()}
_UNPACKS[TUNED] = quantised.unpack_tuned
RAW, HALF, IMAGE = "fp32", "fp16", "image"
TENSOR_CODECS = (RAW, HALF, *PACKINGS)
PICTURE_CODECS = (IMAGE, *JPEG_QUALITY)
ON_THE_WIRE = (RAW, HALF, *_UNPACKS, IMAGE)
_HALF_MAX = float(np.finfo(np.float16).max)


def encode(codec: str, boundary: Sequence[TensorSpec], tensors: Sequence[np.ndarray]) -> tuple[WireTensor, ...]:
    """The tensors of a batch, in the boundary's order and each (batch, …), ready to travel. Raises WrongUsage
    for a codec that does not send tensors, or one tuned for others."""
    packs: list[_Pack | None]
    if is_tuned(codec):
        grids = read_grids(codec, boundary)
        packs = [partial(quantised.pack_tuned, grid=grid) if grid else None for grid in grids]
    elif codec in TENSOR_CODECS:
        packs = [PACKINGS[codec].pack if codec in PACKINGS else None] * len(boundary)
    else:
        raise WrongUsage(f"No codec named {codec!r} sends tensors; choose one of {', '.join(TENSOR_CODECS)}.")
    family = TUNED if is_tuned(codec) else codec
    return tuple(
        _packed(family, spec, tensor, pack) if pack and spec.datatype in FLOATS else _raw(family, spec, tensor)
        for spec, tensor, pack in zip(boundary, tensors, packs, strict=True)
    )


def encode_pictures(spec: TensorSpec, pictures: Sequence[bytes]) -> tuple[WireTensor, ...]:
    """Picture files as they are, for the cut whose boundary is the model's input `spec`."""
    return (WireTensor(spec.name, BYTES, (len(pictures),), join_bytes(pictures), {"codec": IMAGE}),)


def is_pictures(frame: Frame) -> bool:
    """Whether a frame brings picture files rather than tensors."""
    return len(frame.tensors) == 1 and frame.tensors[0].datatype == BYTES


def decode_pictures(spec: TensorSpec, frame: Frame) -> list[memoryview]:
    """The picture files of a frame, views of its bytes. Raises BadFrame."""
    return split_bytes(frame.tensors[0].data, batch_of([spec], frame))


def batch_of(boundary: Sequence[TensorSpec], frame: Frame) -> int:
    """Images in a frame, after checking that it holds the boundary's tensors, or pictures for its only one, and is
    not too large once decoded. Raises BadFrame."""
    arrived = {tensor.name: tensor for tensor in frame.tensors}
    if arrived.keys() != {spec.name for spec in boundary}:
        names = ", ".join(repr(spec.name) for spec in boundary)
        raise BadFrame(f"The tensors are {', '.join(map(repr, arrived))}; this cut takes {names}.")
    if is_pictures(frame) and len(boundary) == 1:
        batch = math.prod(frame.tensors[0].shape)
        _check_size(boundary, batch)
        return batch
    shapes = [_declared_shape(spec, arrived[spec.name]) for spec in boundary]
    batches = {shape[0] for shape in shapes}
    if len(batches) != 1:
        raise BadFrame(f"The tensors hold different numbers of images: {sorted(batches)}.")
    batch = batches.pop()
    _check_size(boundary, batch)
    return batch


def decode(boundary: Sequence[TensorSpec], frame: Frame) -> list[np.ndarray]:
    """The tensors of a frame in the boundary's order, each (batch, …) of its own datatype; they may be read-only
    views of the frame's bytes. Raises BadFrame, before allocating, if anything differs from the boundary."""
    batch = batch_of(boundary, frame)
    arrived = {tensor.name: tensor for tensor in frame.tensors}
    return [_decoded(spec, arrived[spec.name], batch) for spec in boundary]


def decoded_bytes(boundary: Sequence[TensorSpec], batch: int) -> int:
    """Bytes of a batch of boundary tensors in memory."""
    return batch * sum(spec.elements * NUMPY[spec.datatype].itemsize for spec in boundary)


def _packed(codec: str, spec: TensorSpec, tensor: np.ndarray, pack: _Pack) -> WireTensor:
    data = pack(tensor)
    parameters: dict[str, Any] = {"codec": codec, "shape": list(tensor.shape), "datatype": spec.datatype}
    return WireTensor(spec.name, "UINT8", (len(data),), data, parameters)


def _raw(codec: str, spec: TensorSpec, tensor: np.ndarray) -> WireTensor:
    datatype = "FP16" if codec == HALF and spec.datatype in FLOATS else spec.datatype
    if datatype != spec.datatype:
        tensor = np.clip(tensor, -_HALF_MAX, _HALF_MAX)
    array = np.ascontiguousarray(tensor, NUMPY[datatype])
    return WireTensor(spec.name, datatype, tensor.shape, array.reshape(-1).view(np.uint8).data)


def _decoded(spec: TensorSpec, tensor: WireTensor, batch: int) -> np.ndarray:
    shape, dtype = (batch, *spec.shape), NUMPY[spec.datatype]
    codec = tensor.parameters.get("codec")
    if codec in _UNPACKS:
        return _UNPACKS[codec](tensor.data, shape, dtype)
    array = np.frombuffer(tensor.data, NUMPY[tensor.datatype]).reshape(shape).astype(dtype, copy=False)
    return np.require(array, requirements="A")


def _declared_shape(spec: TensorSpec, tensor: WireTensor) -> tuple[int, ...]:
    """Batch and boundary shape of a tensor once decoded, as its sender declares them."""
    codec = tensor.parameters.get("codec")
    packed = isinstance(codec, str) and codec in _UNPACKS
    if codec is not None and not packed:
        raise BadFrame(f"Tensor {spec.name!r} has codec {codec!r}; use one of {', '.join(_UNPACKS)}, or none for raw.")
    if packed and (tensor.datatype != "UINT8" or spec.datatype not in FLOATS):
        raise BadFrame(f"Tensor {spec.name!r} cannot be {codec} of {tensor.datatype} where {spec.datatype} is due.")
    datatype = tensor.parameters.get("datatype") if packed else tensor.datatype
    half = datatype == "FP16" and spec.datatype in FLOATS and not packed
    if datatype != spec.datatype and not half:
        raise BadFrame(f"Tensor {spec.name!r} is {datatype!r}; this cut takes {spec.datatype}.")
    shape = tensor.parameters.get("shape") if packed else list(tensor.shape)
    if not isinstance(shape, list) or not is_shape(shape) or shape[1:] != list(spec.shape) or not shape:
        raise BadFrame(f"Tensor {spec.name!r} has shape {shape!r}; this cut takes [batch, {str([*spec.shape])[1:]}.")
    return tuple(shape)


def _check_size(boundary: Sequence[TensorSpec], batch: int) -> None:
    size = decoded_bytes(boundary, batch)
    if batch > MAX_BATCH or size > MAX_DECODED_BYTES:
        raise BadFrame(
            f"A frame of {batch} images ({size} bytes decoded) is too large; "
            f"send at most {MAX_BATCH} images and {MAX_DECODED_BYTES} bytes."
        )
