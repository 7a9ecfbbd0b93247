"""`hybrid-batch serve`."""

from hybrid_batch.inference.commands.serve.command import command

__all__ = ["command"]
