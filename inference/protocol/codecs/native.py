"""`fp32` and `fp16`: tensors in the datatypes of the protocol, which any of its servers can read."""

from hybrid_batch.inference.protocol.codecs import FP16
from hybrid_batch.inference.protocol.codecs.codec import NativeCodec


def open_codec(name: str) -> NativeCodec:
    """Return the codec `fp32` or `fp16`."""
    return NativeCodec("FP16" if name == FP16 else None)
