"""`hybrid-batch run`."""

from hybrid_batch.inference.commands.run.command import command

__all__ = ["command"]
