"""The types of the JSON files of a run folder: `_run.json` and `_SUCCESS`.

Every key may be missing, because earlier versions and other programs did not write all of them; other keys are kept.
The evaluation on a cluster reads these files with Python's own library alone.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

MAX_FILE_BYTES = 8 << 20  # as objects of Python, some 200 MB
_MAX_COUNT = (1 << 63) - 1
_MAX_SHARD_SIZE = (1 << 31) - 1

Check = Callable[[object], bool]
FileTypes = Mapping[str, Check]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_text_or_null(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_COUNT


def _is_shard_size(value: object) -> bool:
    return type(value) is int and 1 <= value <= _MAX_SHARD_SIZE


def _are_texts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text_or_null, value.values()))


def _are_counts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_count, value.values()))


def _are_periods(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(period, list) and len(period) == 2 and all(type(end) is int for end in period) for period in value
    )


def _is_list(value: object) -> bool:
    return isinstance(value, list)


SETTINGS: FileTypes = {
    **dict.fromkeys(("bundle_name", "codec", "created_at", "images", "labels", "tail", "weights"), _is_text_or_null),
    **dict.fromkeys(("cut", "cut_name"), _is_text),
    **dict.fromkeys(("machine", "settings", "software"), _is_object),
    "identity": _are_texts,
    "shard_size": _is_shard_size,
}
TOTALS: FileTypes = {
    **dict.fromkeys(("images", "errors", "labelled", "correct"), _is_count),
    **dict.fromkeys(("image_bytes", "cut_bytes", "sent_bytes", "received_bytes"), _is_count),
    **dict.fromkeys(("cuts", "tails", "error_reasons", "stages_us", "waits_us"), _are_counts),
    "active_us": _are_periods,
    "events": _is_list,
    "reason": _is_text_or_null,
}


def parse_file(content: bytes, types: FileTypes) -> dict[str, Any]:
    """Parse a file, an object with values of these types. Raises ValueError, with the reason for a sentence."""
    try:
        stored = json.loads(content, parse_constant=_refuse)
        json.dumps(stored, ensure_ascii=False).encode()  # refuses half of a surrogate pair
    except UnicodeError as error:
        raise ValueError("it is not UTF-8 text") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from error
    if not isinstance(stored, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - the content is wrong, not an argument
    wrong = [key for key, check in types.items() if key in stored and not check(stored[key])]
    if wrong:
        raise ValueError(f"the value of {', '.join(wrong)} has another type or range")
    return stored


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")
