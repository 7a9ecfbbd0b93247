"""The options of every command that opens a tail: its address, and what it takes to get in."""

from collections.abc import Callable
from typing import Any

import click


class TailAddress(click.ParamType):  # type: ignore[type-arg]
    """The address of a tail of a kind there is."""

    name = "ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        """See click.ParamType. Raises WrongUsage, whose message is one sentence without the usage before it."""
        from hybrid_batch.inference.tails import check_address

        return check_address(str(value))


def access_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--spill` and `--token-file`."""
    spill = click.option(
        "--spill", metavar="s3://…", help="Where frames too large for the way to the tail lie, and their replies."
    )
    token_file = click.option(
        "--token-file",
        type=click.Path(),
        help="File with the token the tail asks for.  [default: $HYBRID_BATCH_TAIL_TOKEN, if that is set]",
    )
    return spill(token_file(command))


def tail_options(purpose: str, default: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`--tail`, which is for `purpose`, `--spill` and `--token-file`."""
    tail = click.option(
        "--tail",
        type=TailAddress(),
        default=default,
        show_default=default is not None,
        help=f"{purpose}: http(s)://…, lambda:NAME, sqs:QUEUE, s3-trigger:s3://BUCKET/PREFIX"
        + (f", or {default}." if default else "."),
    )
    return lambda command: tail(access_options(command))
