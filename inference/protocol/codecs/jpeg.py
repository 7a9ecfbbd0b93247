"""`jpeg90` and `jpeg75`: the picture at the model's input size as JPEG of that quality; plain upload at its best."""

import io

from hybrid_batch.data.images.decode import Preparation, decode_picture

JPEG_QUALITY = {"jpeg90": 90, "jpeg75": 75}


def recompress(file: bytes, preparation: Preparation, codec: str) -> bytes:
    """A picture's file as a smaller one, of the size and colours that the model takes. Raises CannotDecode."""
    buffer = io.BytesIO()
    decode_picture(file, preparation).save(buffer, "JPEG", quality=JPEG_QUALITY[codec])
    return buffer.getvalue()
