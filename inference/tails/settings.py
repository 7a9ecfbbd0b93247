"""How a tail is used: what the command line says of it besides its address."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hybrid_batch.inference.tails.retry_policy import Patience


@dataclass(frozen=True, slots=True)
class TailSettings:
    """Up to `in_flight` threads use the tail at once, with this much patience. `spill` is the place in S3 for bodies
    that are too large for their way, `token_file` has the token that a tail behind HTTP asks for. `say` gets a line
    where a user should know why nothing happens."""

    in_flight: int = 4
    patience: Patience = field(default_factory=Patience)
    spill: str | None = None
    token_file: str | None = None
    say: Callable[[str], None] = lambda _: None
