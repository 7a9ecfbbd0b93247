"""Options that several commands share, and the types of their values."""

from collections.abc import Callable, Collection, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from hybrid_batch.inference.model.runtimes import DEFAULT_RUNTIME, RUNTIMES

if TYPE_CHECKING:
    from hybrid_batch.inference.model.bundle import Bundle

_FIGURE_SUFFIXES = (".png", ".svg", ".pdf")


class TailAddress(click.ParamType):  # type: ignore[type-arg]
    """The address of a tail."""

    name = "ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        """Return the address. Raises WrongUsage if no kind of tail has such an address."""
        if ctx is not None and ctx.resilient_parsing:  # the completion of a command line imports nothing heavy
            return str(value)
        from hybrid_batch.inference.tails import check_address

        return check_address(str(value))


class ModelReference(click.ParamType):  # type: ignore[type-arg]
    """A bundle, a model file, a SavedModel folder, app:NAME or digits; resolved by `resolve_model`."""

    name = "MODEL"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The models in the present folder and of keras.applications."""
        from hybrid_batch.inference.model.model_names import list_models

        return [CompletionItem(model) for model in list_models(incomplete)]


class CutReference(click.ParamType):  # type: ignore[type-arg]
    """The id or the name of a cut, or one of `words`; resolved by the bundle."""

    name = "CUT"

    def __init__(self, *words: str) -> None:
        self._words = words

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The cuts of the model on the command line, by id or, where that does not fit, by name."""
        from hybrid_batch.inference.model.model_names import BUILT_IN, is_plain, list_cuts

        cuts = list(list_cuts(str(ctx.params.get("model") or BUILT_IN)))
        items = [CompletionItem(word) for word in self._words if word.startswith(incomplete)]
        items += [CompletionItem(cut, help=name) for cut, name in cuts if cut.startswith(incomplete)]
        return items or [
            CompletionItem(name, help=cut) for cut, name in cuts if name.startswith(incomplete) and is_plain(name)
        ]


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

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that start with `incomplete`."""
        return [CompletionItem(name) for name in self.choices if name.startswith(incomplete)]

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
cuts_option = click.option(
    "--cuts",
    metavar="CUT,…",
    callback=lambda _context, _parameter, text: parse_cuts(text),
    help="Serve only these cuts, compiled at the start.  [default: all, each compiled at its first request]",
)
max_compiled_option = click.option(
    "--max-compiled-mb",
    type=click.IntRange(1),
    default=640,
    show_default=True,
    help="Memory of compiled cuts in each process, in MiB; the least used are removed.",
)
plot_option = click.option("--plot", type=FigureFile(), help="Draw the result to a file (png, svg, pdf).")


def parse_cuts(text: str | None) -> tuple[str, ...]:
    """The ids or names of cuts, which commas separate. Raises BadParameter for none."""
    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    if text is not None and not names:
        raise click.BadParameter(f"{text!r} names no cut.", param_hint="--cuts")
    return names


def auth_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--spill` and `--token-file` to a command with `--tail`."""
    spill = click.option("--spill", metavar="s3://…", help="S3 prefix for frames that are too large for the tail.")
    token_file = click.option(
        "--token-file",
        type=click.Path(),
        help="File with the access token of the tail.  [default: that of its host in credentials.toml, else "
        "$HYBRID_BATCH_TAIL_TOKEN]",
    )

    @wraps(command)
    def with_own_token(**values: Any) -> None:  # noqa: ANN401 - click's
        command(**values | {"token_file": _own_token_file(values["tail"], values["token_file"])})

    return spill(token_file(with_own_token))


def _own_token_file(tail: str | Sequence[str] | None, token_file: str | None) -> str | None:
    """The token file, if it belongs to these tails. Prints a warning if others can read it. Raises WrongUsage."""
    tails = [tail] if isinstance(tail, str) else list(tail or ())
    if not any(":" in address for address in tails):  # local: no token is read
        return token_file
    from hybrid_batch.data.terminal.messages import print_warning
    from hybrid_batch.inference.tails.access.token_scope import is_exposed, limit_token

    source = click.get_current_context().get_parameter_source
    own = limit_token(
        tails,
        token_file,
        is_tail_in_file=source("tail") is ParameterSource.DEFAULT_MAP,
        is_token_in_file=source("token_file") is ParameterSource.DEFAULT_MAP,
    )
    if is_exposed(own):
        print_warning(f"other users can read the token file {own}; run `chmod 600 {own}`.")
    return own


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


def images_to_measure(images: str | None, bundle: "Bundle") -> str | None:
    """The folder of the images to measure with: the given one, else that of the built-in model. Prints a warning if
    there is none, because a made-up image is measured then."""
    from hybrid_batch.data.terminal.messages import print_warning
    from hybrid_batch.inference.planner.profile.sample import find_built_in_images, made_up_image

    folder = images or find_built_in_images(bundle)
    if folder is None:
        print_warning(
            f"without --images a made-up image of {len(made_up_image()) / 1000:.0f} kB is measured, and images of "
            "another size have other figures; give --images DIR."
        )
    return folder
