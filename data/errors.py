"""Every error that a user can see, named for the state that caused it.

    HybridBatchError            the base class; `hybrid_batch/cli.py` maps it to exit code 1
    ├── WrongUsage              invalid arguments or input files; exit code 2
    │   ├── NoImages, BadLabels
    │   ├── NotABundle, ModelRefused, CutNotFound
    │   ├── SettingsMismatch       the run folder belongs to a command with other settings
    │   ├── ImagesChanged       images are not those that the run has classified
    │   └── NotARun             the folder contains no run, or a damaged one
    ├── StorageFailed           bucket missing or access denied, disk full
    │   └── TooLarge            an object larger than the reader allows
    ├── TailUnreachable         no response after all retries
    ├── TailRefused             the tail rejected the request
    │   └── BundleMismatch         the tail serves another bundle
    ├── InvalidFrame                received bytes that violate the wire format
    ├── AwsRefused              AWS rejected a request: credentials, permission, region, missing resource
    │   └── QueueNotFound           the queue does not exist
    ├── AwsUnreachable          no response from AWS, or only throttling, after all retries
    ├── JobFailed               a job failed, was cancelled or did not end in time
    ├── DeploymentFailed             a CloudFormation stack was not created, updated or deleted completely
    ├── PackageFailed           the archives for EMR or for a cloud tail cannot be built
    ├── LimitExceeded           a --fail-if condition is true
    ├── MissingExtra            an optional dependency is not installed
    ├── Declined                the user declined a confirmation
    └── Interrupted             the user interrupted; exit code 130

A message is one sentence: the problem, the value received, the remedy.
"""


class HybridBatchError(Exception):
    """Base class of every error whose message is for the user."""


class WrongUsage(HybridBatchError):
    """The arguments or an input file are invalid."""


class NoImages(WrongUsage):
    """The given folder or prefix contains no image."""


class BadLabels(WrongUsage):
    """The labels do not match the images or the classes of the model."""


class NotABundle(WrongUsage):
    """The path is neither a bundle nor a model that can be imported."""


class ModelRefused(WrongUsage):
    """The model contains code of its own, or cannot be frozen."""


class CutNotFound(WrongUsage):
    """No cut of the bundle has this id or name."""


class SettingsMismatch(WrongUsage):
    """The run folder belongs to a command with other settings."""


class ImagesChanged(WrongUsage):
    """Images are not those that the run has classified."""


class NotARun(WrongUsage):
    """The folder contains no run, or one whose files cannot be read."""


class StorageFailed(HybridBatchError):
    """The folder or bucket is missing, forbidden or full."""


class TooLarge(StorageFailed):
    """An object is larger than its reader allows; none of it was read."""


class TailUnreachable(HybridBatchError):
    """The tail did not respond after all retries."""


class TailRefused(HybridBatchError):
    """The tail rejected the request."""


class BundleMismatch(TailRefused):
    """The tail serves a bundle with another hash."""


class InvalidFrame(HybridBatchError):
    """Received bytes violate the wire format."""


class AwsRefused(HybridBatchError):
    """AWS rejected a request; `code` is the error code of AWS, empty if there is none."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class QueueNotFound(AwsRefused):
    """The queue does not exist."""


class AwsUnreachable(HybridBatchError):
    """An AWS service did not respond after all retries; it may have executed the request."""


class JobFailed(HybridBatchError):
    """A job on EMR or in local processes failed; the message ends with the log line that gives the reason."""


class DeploymentFailed(HybridBatchError):
    """A CloudFormation stack did not reach the requested state; the message gives the reason and what exists."""


class PackageFailed(HybridBatchError):
    """The archives that a job on EMR or a cloud tail needs cannot be built."""


class LimitExceeded(HybridBatchError):
    """A measurement exceeds a limit that the user set."""


class MissingExtra(HybridBatchError):
    """An optional dependency is not installed; the message gives the pip line."""


class Declined(HybridBatchError):
    """The user declined a confirmation."""


class Interrupted(HybridBatchError):
    """The user interrupted the command; the message says what was completed."""


def one_line(error: BaseException) -> str:
    """Return a library's error message on one line without a final period, for use in a sentence."""
    return " ".join(str(error).split()).rstrip(".")
