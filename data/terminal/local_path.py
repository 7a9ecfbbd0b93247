"""A click type for options that are local paths."""

import os
from pathlib import Path
from typing import Any

import click


class LocalPath(click.Path):
    """A click.Path that rejects URLs such as s3://bucket/key."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(path_type=Path, **settings)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Convert as click.Path does. Raises WrongUsage for a URL."""
        from hybrid_batch.data.errors import WrongUsage

        if "://" in os.fspath(value):
            name = max(param.opts, key=len) if param is not None else self.name
            raise WrongUsage(f"{name} must be a local path, not {value}.")
        return super().convert(value, param, ctx)
