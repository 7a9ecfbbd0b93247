"""Every error a user can meet, named for a state of the world.

    HybridBatchError            the root; `hybrid_batch/cli.py` maps it to exit code 1
    ├── WrongUsage              what was asked for makes no sense; exit code 2
    │   ├── NoImages, BadLabels
    │   ├── NotABundle, ModelRefused, CutNotFound
    │   ├── OtherSettings       the run folder was made by another command
    │   └── NotARun             the folder holds no run, or one whose files are broken
    ├── StorageFailed           bucket missing or refused, disk full
    │   └── TooLarge            an object larger than the reader allows
    ├── TailUnreachable         nothing answers, however often asked
    ├── TailRefused             the tail answered that the request is wrong
    │   └── OtherBundle         the tail serves another model
    ├── BadFrame                bytes from outside that are no frame of ours
    ├── AwsRefused              a service of AWS answered no: credentials, permission, region, no such thing
    │   └── QueueGone           the queue does not exist, or no longer
    ├── AwsUnreachable          no answer from AWS, or none but "later", however often asked
    ├── JobFailed               what ran on EMR failed, was cancelled, or did not end in time
    ├── StackFailed             what was deployed to the cloud did not come to stand or to go, or stands half
    ├── PackageFailed           the archives for EMR or another cloud service cannot be made
    ├── LimitExceeded           what --fail-if forbids has come to pass
    ├── MissingExtra            an optional dependency is not installed
    ├── Declined                the user was asked and said no
    └── Interrupted             by the user; exit code 130

A message is one sentence: what, the value received, what to do.
"""


class HybridBatchError(Exception):
    """Root of every error whose message is meant for the user."""


class WrongUsage(HybridBatchError):
    """The command or file given cannot mean anything here."""


class NoImages(WrongUsage):
    """There is no image where the user pointed."""


class BadLabels(WrongUsage):
    """The labels do not fit the images or the model's outputs."""


class NotABundle(WrongUsage):
    """The path is neither a bundle nor a model that can be imported."""


class ModelRefused(WrongUsage):
    """The model would run code of its own, or cannot be frozen."""


class CutNotFound(WrongUsage):
    """No cut of the bundle has this id or name."""


class OtherSettings(WrongUsage):
    """The run folder holds the work of another command."""


class NotARun(WrongUsage):
    """The folder holds no run, or one whose files cannot be read."""


class StorageFailed(HybridBatchError):
    """The folder or bucket refuses: missing, forbidden, full."""


class TooLarge(StorageFailed):
    """An object is larger than its reader allows; none of it was read."""


class TailUnreachable(HybridBatchError):
    """No answer from the tail after every retry."""


class TailRefused(HybridBatchError):
    """The tail answered that the request is wrong."""


class OtherBundle(TailRefused):
    """The tail serves a bundle with another hash."""


class BadFrame(HybridBatchError):
    """Bytes from outside that do not follow the wire format."""


class AwsRefused(HybridBatchError):
    """AWS answered that the request is wrong, or not allowed; `code` is its own word for why, if it said one."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class QueueGone(AwsRefused):
    """There is no such queue."""


class AwsUnreachable(HybridBatchError):
    """No answer from a service of AWS after every retry; whether it acted is not known."""


class JobFailed(HybridBatchError):
    """A job, on EMR or in processes of its own here, did not end well; the message ends with the line of its logs that
    says why."""


class StackFailed(HybridBatchError):
    """A deployment did not become what it should; the message says why and what stands."""


class PackageFailed(HybridBatchError):
    """The archives that a job on EMR, or a tail in the cloud, needs cannot be made."""


class LimitExceeded(HybridBatchError):
    """A measurement is beyond what the user allowed."""


class MissingExtra(HybridBatchError):
    """An optional dependency is not installed; the message gives the pip line."""


class Declined(HybridBatchError):
    """The user was asked whether to go on, and said no."""


class Interrupted(HybridBatchError):
    """The user stopped it; the message says what stands."""
