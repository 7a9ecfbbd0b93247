"""The process of the users, seen from here."""

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from hybrid_batch.inference.benchmark.child import Child
from hybrid_batch.inference.benchmark.clients import Tally
from hybrid_batch.inference.benchmark.head import Prepared
from hybrid_batch.inference.benchmark.way import Way
from hybrid_batch.inference.model.bundle import Bundle


@dataclass(frozen=True, slots=True)
class Load:
    """What users send: a way, and its frames, made before they come, as users' own machines would make them."""

    bundle: Bundle
    way: Way
    prepared: Sequence[Prepared]


class Crowd:
    """Users who send what they are given."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def use(self, url: str, load: Load, users: int, *, seconds: float = 0.0, least: int = 1) -> Tally:
        """Let so many users ask for so many seconds, each so often at the least. Raises TailUnreachable when their
        process is gone."""
        bodies = [one.body(load.bundle) for one in load.prepared]
        address = urlsplit(url)
        turn = {
            "host": address.hostname,
            "port": address.port,
            "path": f"/v2/models/{quote(load.bundle.name, safe='')}/versions/{load.way.cut.id}/infer",
            "requests": [{"headers": body.headers, "body": b64encode(body.join()).decode()} for body in bodies],
            "users": users,
            "seconds": seconds,
            "least": least,
        }
        self._child.tell(json.dumps(turn))
        return Tally(**json.loads(self._child.hear()))


@contextmanager
def started_crowd() -> Iterator[Crowd]:
    """Until the end of the block."""
    with Child("hybrid_batch.inference.benchmark.clients") as child:
        yield Crowd(child)
