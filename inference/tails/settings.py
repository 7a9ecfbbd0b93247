"""How a tail is used: what the command line says of it besides its address."""

from dataclasses import dataclass, field

from inference.tails.patience import Patience


@dataclass(frozen=True, slots=True)
class TailSettings:
    """Up to `in_flight` threads use the tail at once, with this much patience."""

    in_flight: int = 4
    patience: Patience = field(default_factory=Patience)
