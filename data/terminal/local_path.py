"""Options that are paths on this machine."""

import os
from pathlib import Path
from typing import Any

import click


class LocalPath(click.Path):
    """As click.Path; s3://bucket/key is refused, and no folder named `s3:`."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(path_type=Path, **settings)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """See click.Path. Raises WrongUsage, whose message is one sentence without the usage before it."""
        from hybrid_batch.data.errors import WrongUsage

        if "://" in os.fspath(value):
            name = max(param.opts, key=len) if param is not None else self.name
            raise WrongUsage(f"{value} is no place on this machine, which {name} must be; give a local path.")
        return super().convert(value, param, ctx)
