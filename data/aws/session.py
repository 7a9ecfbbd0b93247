"""boto3 sessions."""

import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import boto3
    from botocore.loaders import Loader


def aws_session() -> "boto3.Session":
    """Return a session with the current settings from the AWS variables and files.

    All sessions of a process share the parsed service descriptions, which saves each client 0.2 s. Raises botocore's
    BotoCoreError for invalid settings."""
    import boto3
    import botocore.session

    core = botocore.session.get_session()
    core.register_component("data_loader", _descriptions(core.get_config_variable("data_path")))
    # The other AWS tools read AWS_REGION; boto3 reads AWS_DEFAULT_REGION only.
    return boto3.Session(botocore_session=core, region_name=os.environ.get("AWS_REGION") or None)


@cache
def _descriptions(path: str | None) -> "Loader":
    from botocore.loaders import create_loader

    return create_loader(path)
