"""boto3 sessions."""

import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import boto3
    from botocore.loaders import Loader


def aws_session() -> "boto3.Session":
    """A session with the settings that the AWS variables and files give now.

    All sessions of a process share the descriptions of AWS's services: to parse them again takes each client
    0.2 s. Raises botocore's BotoCoreError for settings that make no session."""
    import boto3
    import botocore.session

    core = botocore.session.get_session()
    core.register_component("data_loader", _descriptions(core.get_config_variable("data_path")))
    # All other programs of AWS heed this variable, boto3 alone knows AWS_DEFAULT_REGION only.
    return boto3.Session(botocore_session=core, region_name=os.environ.get("AWS_REGION") or None)


@cache
def _descriptions(path: str | None) -> "Loader":
    from botocore.loaders import create_loader

    return create_loader(path)
