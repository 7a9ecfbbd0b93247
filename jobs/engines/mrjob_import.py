"""Import mrjob; report its absence in one sentence, and silence its deprecation warnings."""

import warnings

from hybrid_batch.data.errors import MissingExtra

try:
    with warnings.catch_warnings():
        # mrjob 0.7.4, its last release, imports `pipes`, which Python 3.13 removes.
        warnings.simplefilter("ignore", DeprecationWarning)
        from mrjob.job import MRJob
        from mrjob.protocol import BytesProtocol, BytesValueProtocol, JSONValueProtocol
        from mrjob.step import MRStep, StepFailedException
except ModuleNotFoundError as error:  # of mrjob or of its dependencies; on Python 3.12 it needs setuptools
    raise MissingExtra(
        f"Cannot import mrjob ({error}); run `pip install 'hybrid-batch[jobs]'`, or use --engine inline."
    ) from error

__all__ = ["BytesProtocol", "BytesValueProtocol", "JSONValueProtocol", "MRJob", "MRStep", "StepFailedException"]
