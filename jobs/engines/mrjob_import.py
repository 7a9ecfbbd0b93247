"""mrjob, imported so that its absence is one sentence and its age is not heard of."""

import warnings

from hybrid_batch.data.errors import MissingExtra

try:
    with warnings.catch_warnings():
        # mrjob 0.7.4, its last release, imports `pipes`, which Python 3.13 will not have.
        warnings.simplefilter("ignore", DeprecationWarning)
        from mrjob.job import MRJob
        from mrjob.protocol import BytesProtocol, BytesValueProtocol, JSONValueProtocol
        from mrjob.step import MRStep, StepFailedException
except ModuleNotFoundError as error:  # of mrjob, or of what it needs: on Python 3.12 that is setuptools
    raise MissingExtra(
        f"mrjob cannot be used ({error}); run `pip install 'hybrid-batch[jobs]'`, or use --engine inline."
    ) from error

__all__ = ["BytesProtocol", "BytesValueProtocol", "JSONValueProtocol", "MRJob", "MRStep", "StepFailedException"]
