"""Fixtures of deployment tests: wheels without a network, and a list of all resources in the local AWS."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hybrid_batch.inference.cloud.packaging import dependencies
from tests.emr.wheelhouse import make_wheelhouse


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[None]:
    """pip finds wheels of the libraries installed on this machine, and no others."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        pytest.skip("the installed libraries are not for Linux on x86_64")
    folder = tmp_path_factory.mktemp("pip") / "wheels"
    make_wheelhouse(folder, (*dependencies.requirements("x86_64"), *dependencies.command_requirements()))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PIP_NO_INDEX", "1")
        environment.setenv("PIP_FIND_LINKS", str(folder))
        yield


@pytest.fixture
def existing_resources(aws: str) -> Callable[[], set[str]]:
    """Lists all resources in the local AWS, of every service that a deployment uses."""
    return list_everything


def list_everything() -> set[str]:
    """The names of all resources, each with its kind."""
    import boto3

    listings = [
        ("s3", "list_buckets", "Buckets", "Name"),
        ("lambda", "list_functions", "Functions", "FunctionName"),
        ("apigatewayv2", "get_apis", "Items", "ApiId"),
        ("iam", "list_roles", "Roles", "RoleName"),
        ("iam", "list_instance_profiles", "InstanceProfiles", "InstanceProfileName"),
        ("logs", "describe_log_groups", "logGroups", "logGroupName"),
        ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
        ("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups", "AutoScalingGroupName"),
        ("autoscaling", "describe_policies", "ScalingPolicies", "PolicyARN"),
        ("ec2", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateName"),
        ("cloudformation", "describe_stacks", "Stacks", "StackName"),
    ]
    found = set()
    for service, operation, items, name in listings:
        for item in getattr(boto3.client(service), operation)().get(items, ()):  # type: ignore[call-overload]
            found.add(f"{service} {operation} {item[name]}")
    policies = boto3.client("iam").list_policies(Scope="Local")["Policies"]  # type: ignore[attr-defined]
    queues = boto3.client("sqs").list_queues().get("QueueUrls", ())  # type: ignore[attr-defined]
    return found | {f"policy {one['PolicyName']}" for one in policies} | {f"queue {url}" for url in queues}
