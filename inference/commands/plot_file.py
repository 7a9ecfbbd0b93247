"""The option --plot: a picture that can be drawn, checked before minutes of measuring."""

from pathlib import Path

import click

_FORMATS = (".png", ".svg", ".pdf")


class PlotFile(click.ParamType):  # type: ignore[type-arg]
    """A path in a folder there is, whose suffix says the format."""

    name = "FILE"

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """See click.ParamType. Raises WrongUsage, whose message is one sentence without the usage before it."""
        from hybrid_batch.data.errors import WrongUsage

        path = Path(value)
        if path.suffix not in _FORMATS or not path.absolute().parent.is_dir():
            raise WrongUsage(
                f"Cannot draw to {value}; give a file in a folder there is, that ends in {', '.join(_FORMATS)}."
            )
        return path
