"""Which tail a token on the command line, in the environment or in a configuration file belongs to."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.storage.private_file import can_others_read
from hybrid_batch.inference.tails.access.tokens import CREDENTIALS_FILE, TOKEN_VARIABLE, host_of, is_listed

_SCHEMES = ("http://", "https://")


def limit_token(
    tails: Iterable[str], token_file: str | None, *, is_tail_in_file: bool, is_token_in_file: bool
) -> str | None:
    """The token file for these tails; None if it belongs to another tail.

    A token file that a configuration file names belongs to the tail of that file, and not to one that the command line
    or the environment names. Raises WrongUsage if a token that names no host would be sent to several hosts, or if the
    one in HYBRID_BATCH_TAIL_TOKEN would be sent to the tail of a configuration file."""
    urls = list(_urls(tails))
    if is_token_in_file and not is_tail_in_file:
        token_file = None
    if token_file is not None:
        _check_one_host(urls, f"the token file {token_file}")
    elif TOKEN_VARIABLE in os.environ:
        unlisted = [url for url in urls if not is_listed(url)]
        _check_one_host(unlisted, TOKEN_VARIABLE)
        if unlisted and is_tail_in_file:
            raise WrongUsage(
                f"{TOKEN_VARIABLE} names no host, and a configuration file names the tail {host_of(unlisted[0])}; list "
                f"the token of this host in {CREDENTIALS_FILE}, or give --tail."
            )
    return token_file


def is_exposed(token_file: str | None) -> bool:
    """Whether other users can read the token file."""
    path = None if token_file is None else Path(token_file)
    return path is not None and path.exists() and can_others_read(path)


def _urls(tails: Iterable[str]) -> Iterator[Url]:
    """The valid URLs among some addresses; opening the tail refuses the others."""
    for tail in tails:
        with suppress(LocationParseError):
            if tail.startswith(_SCHEMES):
                yield parse_url(tail)


def _check_one_host(urls: Iterable[Url], source: str) -> None:
    hosts = sorted({host_of(url) for url in urls})
    if len(hosts) > 1:
        raise WrongUsage(
            f"The token of {source} would be sent to {len(hosts)} hosts, {', '.join(hosts)}; list the token of each "
            f"host in {CREDENTIALS_FILE}."
        )
