"""Options that several commands share, and the types of their values."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import click

from hybrid_batch.inference.model.runtimes import DEFAULT_RUNTIME, RUNTIMES

_FIGURE_SUFFIXES = (".png", ".svg", ".pdf")


class TailAddress(click.ParamType):  # type: ignore[type-arg]
    """The address of a tail."""

    name = "ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        """Return the address. Raises WrongUsage if no kind of tail has such an address."""
        from hybrid_batch.inference.tails import check_address

        return check_address(str(value))


class TableChoice(click.ParamType):  # type: ignore[type-arg]
    """A name in one of some tables, which are read on use, so that names can be added to them."""

    name = "NAME"

    def __init__(self, *tables: Collection[str], excluded: Collection[str] = ()) -> None:
        self._tables, self._excluded = tables, excluded

    @property
    def choices(self) -> list[str]:
        """The names in the order of the tables."""
        return [name for table in self._tables for name in table if name not in self._excluded]

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """The names, for --help."""
        return f"[{'|'.join(self.choices)}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        """Return the name."""
        if value not in self.choices:
            self.fail(f"{value!r} is not one of {', '.join(map(repr, self.choices))}.", param, ctx)
        return str(value)


class FigureFile(click.ParamType):  # type: ignore[type-arg]
    """A file that a figure can be written to, checked before minutes of measurements."""

    name = "FILE"

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path. Raises WrongUsage for an unknown suffix or a folder that does not exist."""
        from hybrid_batch.data.errors import WrongUsage

        path = Path(value)
        if path.suffix not in _FIGURE_SUFFIXES or not path.absolute().parent.is_dir():
            raise WrongUsage(
                f"Cannot draw to {value}; choose a file in an existing folder with the suffix "
                f"{', '.join(_FIGURE_SUFFIXES[:-1])} or {_FIGURE_SUFFIXES[-1]}."
            )
        return path


runtime_option = click.option(
    "--runtime",
    type=TableChoice(RUNTIMES),
    default=DEFAULT_RUNTIME,
    show_default=True,
    help="Runtime that computes the model.",
)
in_flight_option = click.option(
    "--in-flight",
    type=click.IntRange(1, 64),
    help="Concurrent requests.  [default: 4; 8 for lambda:NAME; 32 for sqs:QUEUE]",
)
plot_option = click.option("--plot", type=FigureFile(), help="Draw the result to a file (png, svg, pdf).")


def auth_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--spill` and `--token-file`."""
    spill = click.option("--spill", metavar="s3://…", help="S3 prefix for frames that are too large for the tail.")
    token_file = click.option(
        "--token-file",
        type=click.Path(),
        help="File with the access token of the tail.  [default: $HYBRID_BATCH_TAIL_TOKEN]",
    )
    return spill(token_file(command))


def tail_options(purpose: str, default: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add `--tail` with a help text that begins with `purpose`, `--spill` and `--token-file`."""
    tail = click.option(
        "--tail",
        type=TailAddress(),
        default=default,
        show_default=default is not None,
        help=f"{purpose}: http(s)://…, lambda:NAME, sqs:QUEUE, s3-trigger:s3://BUCKET/PREFIX"
        + (f", or {default}." if default else "."),
    )
    return lambda command: tail(auth_options(command))
