"""Small text files that a user gives: class names, tokens, prices, configuration."""

from pathlib import Path

from hybrid_batch.data.errors import WrongUsage, one_line

LIMIT_BYTES = 1 << 20


def read_text_file(
    path: Path, content: str, limit_bytes: int = LIMIT_BYTES, refusal: type[WrongUsage] = WrongUsage
) -> str:
    """Read a text file in UTF-8, with or without a byte order mark. `content` names what it holds, for messages.

    Raises `refusal` if the file cannot be read, is larger than `limit_bytes` or is not UTF-8; at most one byte more
    than the limit is read, so the file may be a device or a pipe."""
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise refusal(f"Cannot read the {content} in {path}: {error.strerror or error}; check the path.") from error
    return decode_text(data, path, content, limit_bytes, refusal)


def decode_text(
    data: bytes, path: Path, content: str, limit_bytes: int = LIMIT_BYTES, refusal: type[WrongUsage] = WrongUsage
) -> str:
    """The text of at most `limit_bytes` of UTF-8, read from `path`. Raises `refusal`."""
    if len(data) > limit_bytes:
        raise refusal(f"{path} is larger than {_size(limit_bytes)}, too large for {content}; check the path.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refusal(
            f"Cannot read the {content} in {path}: it is not UTF-8 ({one_line(error)}); convert the file."
        ) from error


def _size(limit_bytes: int) -> str:
    return f"{limit_bytes >> 20} MiB" if limit_bytes >= 1 << 20 else f"{limit_bytes >> 10} KiB"
