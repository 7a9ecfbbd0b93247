"""Deployment: create the bucket, upload the package, then create all other resources; or update an existing stack."""

import uuid
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hybrid_batch.data.aws.aws_client import AwsCall, AwsClient
from hybrid_batch.data.aws.poll_schedule import PollSchedule
from hybrid_batch.data.errors import AwsRefused, DeploymentFailed, HybridBatchError
from hybrid_batch.data.storage.ensure_object import EnsureObject
from hybrid_batch.inference.cloud.deployment_spec import DeploymentSpec
from hybrid_batch.inference.cloud.destroy import delete_deployment, take_inventory
from hybrid_batch.inference.cloud.packaging.package import Package
from hybrid_batch.inference.cloud.permissions.boundary import find_boundary
from hybrid_batch.inference.cloud.stack.bucket import PACKAGES, Bucket
from hybrid_batch.inference.cloud.stack.stack import (
    UNCHANGED,
    Stack,
    failure_reason,
    find_stack,
    resources,
    stack_call,
    wait_until_stable,
)
from hybrid_batch.inference.cloud.status import find_changed, find_missing, missing_message, tail_addresses
from hybrid_batch.inference.cloud.token import new_token, token_hash

_TOKEN = "TokenSha256"  # noqa: S105 - the name of a parameter
_BOUNDARY = "PermissionsBoundary"
_ALREADY_EXISTS = "AlreadyExistsException"


class _CreatedConcurrently(DeploymentFailed):
    """Another client created the stack after this deployment was planned."""


@dataclass(frozen=True, slots=True)
class DeploymentSite:
    """Where a deployment goes: its bucket, and `existing`, the stack to update, None to create one. `boundary` is the
    ARN of the roles' permissions boundary, empty for none."""

    aws: AwsClient
    spec: DeploymentSpec
    bucket: Bucket
    existing: Stack | None
    boundary: str

    def replaced_bundle(self, bundle: str) -> str | None:
        """The hash of the deployed bundle, if it is not `bundle`."""
        before = self.existing.parameters.get("Bundle") if self.existing else None
        return before if before != bundle else None

    def removed_entry_points(self) -> list[str]:
        """The existing entry points that the deployment removes."""
        if self.existing is None:
            return []
        return [name for name in tail_addresses(self.existing) if not self.spec.will_exist(name)]


@dataclass(frozen=True, slots=True)
class Deployment:
    """The plan of a deployment. `token` is a new token to activate, None to keep the present one or to need none."""

    site: DeploymentSite
    package: Package
    token: str | None = field(repr=False)

    @property
    def aws(self) -> AwsClient:
        return self.site.aws

    @property
    def spec(self) -> DeploymentSpec:
        return self.site.spec

    @property
    def bucket(self) -> Bucket:
        return self.site.bucket

    @property
    def existing(self) -> Stack | None:
        return self.site.existing

    @property
    def bundle(self) -> str:
        """The hash of the bundle."""
        return self.package.bundle_sha256

    @property
    def key(self) -> str:
        """The key of the package in the bucket; equal packages have equal keys."""
        return f"{PACKAGES}{self.package.sha256}.zip"

    @property
    def code_sha256(self) -> str:
        """The hash of the package as Lambda writes it."""
        return b64encode(bytes.fromhex(self.package.sha256)).decode()

    def steps(self) -> list[AwsCall | EnsureObject]:
        """The requests and uploads, in their order."""
        path = self.package.path
        uri = f"s3://{self.bucket.name}/{self.key}"
        upload = EnsureObject(uri, path.read_bytes, path.stat().st_size)
        if self.existing:
            return [upload, self._call("update_stack")]
        return [self._create_bucket(), upload, self._call("update_stack")]

    def describe(self) -> dict[str, Any]:
        """The plan as JSON types, without the template's text, and without the hash of a token that a dry run
        discards."""
        steps = [step.describe() for step in self.steps()]
        for step in steps:
            if "with" in step:
                step["with"] = {key: value for key, value in step["with"].items() if key != "TemplateBody"}
                for one in step["with"]["Parameters"]:
                    if one["ParameterKey"] == _TOKEN and one.get("ParameterValue"):
                        one["ParameterValue"] = "(of a new token)"
        return {
            "deployment": self.spec.name,
            "region": self.aws.region,
            "bundle": self.bundle,
            "permissions_boundary": self.site.boundary or None,
            "resources": list(self.spec.resources()),
            "removes": self.removed_entry_points(),
            "plan": steps,
        }

    def replaced_bundle(self) -> str | None:
        """The hash of the deployed bundle, if it is another one."""
        return self.site.replaced_bundle(self.bundle)

    def removed_entry_points(self) -> list[str]:
        """The existing entry points that the deployment removes."""
        return self.site.removed_entry_points()

    def _create_bucket(self) -> AwsCall:
        bucket_only = self.spec.parameters(self.bundle, "") | {_BOUNDARY: self.site.boundary}
        return stack_call("create_stack", self.spec.name, bucket_only | {_TOKEN: ""})

    def _call(self, operation: str) -> AwsCall:
        keeps_token = self.spec.needs_token and self.token is None
        digest = None if keeps_token else token_hash(self.token) if self.token else ""
        parameters = self.spec.parameters(self.bundle, self.key) | {
            "PackageSha256": self.package.sha256,
            "CodeSha256": self.code_sha256,
            _BOUNDARY: self.site.boundary,
        }
        return stack_call(operation, self.spec.name, {**parameters, _TOKEN: digest})


def find_site(aws: AwsClient, spec: DeploymentSpec) -> DeploymentSite:
    """Find the stack and the bucket of a deployment. Raises WrongUsage, AwsRefused, AwsUnreachable, and
    DeploymentFailed for an existing stack that is incomplete, lacks resources or is being changed."""
    spec.check()
    bucket = Bucket.of_deployment(aws, spec.name)
    existing = find_stack(aws, spec.name)
    _check(spec.name, existing, bucket)
    return DeploymentSite(aws, spec, bucket, existing, find_boundary(aws, spec.boundary, spec.name))


def plan_deployment(aws: AwsClient, spec: DeploymentSpec, package: Package, *, renew_token: bool) -> Deployment:
    """Plan a deployment. Raises the errors of `find_site`."""
    site = find_site(aws, spec)
    has_token = site.existing is not None and site.existing.parameters.get("Api") == "token"
    token = new_token() if spec.needs_token and (renew_token or not has_token) else None
    return Deployment(site, package, token)


def apply_deployment(
    deployment: Deployment, schedule: PollSchedule, notify: Callable[[str], None]
) -> tuple[Stack, bool]:
    """Carry out the plan, and return the stack and whether it changed. After a failure a new stack is deleted and an
    existing one rolled back. Raises DeploymentFailed, AwsRefused, AwsUnreachable, StorageFailed, PackageFailed."""
    try:
        return _apply_steps(deployment, schedule, notify)
    except HybridBatchError as error:
        if deployment.existing or isinstance(error, _CreatedConcurrently):
            raise
        raise _roll_back(deployment, error, schedule, notify) from error


def _roll_back(
    deployment: Deployment, error: HybridBatchError, schedule: PollSchedule, notify: Callable[[str], None]
) -> HybridBatchError:
    """Delete the resources of a failed first deployment, and return the error to raise."""
    cause, name = str(error).rstrip("."), deployment.spec.name
    try:
        if take_inventory(deployment.aws, name).is_empty:
            return error
        notify("deleting the new resources")
        delete_deployment(deployment.aws, name, schedule, notify)
    except HybridBatchError as second:
        return DeploymentFailed(
            f"{cause}; its resources cannot be deleted ({str(second).rstrip('.')}), try again with `hybrid-batch cloud "
            f"destroy {name}`."
        )
    return DeploymentFailed(f"{cause}; its resources are deleted.")


def _apply_steps(deployment: Deployment, schedule: PollSchedule, notify: Callable[[str], None]) -> tuple[Stack, bool]:
    aws, changed = deployment.aws, False
    for step in deployment.steps():
        if isinstance(step, EnsureObject):
            notify(f"uploading the package to {step.uri}")
            step.apply()
        else:
            changed = _change_stack(aws, step, schedule, notify)
    stack = find_stack(aws, deployment.spec.name)
    if stack is None:
        raise DeploymentFailed(f"Stack {deployment.spec.name} was deleted by another client; deploy again.")
    for function in find_changed(aws, stack):  # CloudFormation does not notice it
        notify(f"restoring the code of function {function}, which another client changed")
        _restore_code(deployment, function)
        changed = True
    deployment.bucket.delete_old_packages(deployment.key)
    return stack, changed


def _restore_code(deployment: Deployment, function: str) -> None:
    package = {"S3Bucket": deployment.bucket.name, "S3Key": deployment.key}
    found = deployment.aws.call("lambda", "update_function_code", FunctionName=function, **package)["CodeSha256"]
    if found != deployment.code_sha256:
        raise DeploymentFailed(
            f"Function {function} has code with the hash {found}, and the package has {deployment.code_sha256}; find "
            "out who changes it and deploy again."
        )


def _change_stack(aws: AwsClient, call: AwsCall, schedule: PollSchedule, notify: Callable[[str], None]) -> bool:
    """Create or update the stack and wait for the end; False if there was nothing to change."""
    # With this token CloudFormation recognizes a request that is repeated because its response was lost.
    parameters = call.parameters | {"ClientRequestToken": uuid.uuid4().hex}
    try:
        stack_id = str(aws.call(call.service, call.operation, **parameters)["StackId"])
    except AwsRefused as error:
        if UNCHANGED in str(error):
            return False
        if error.code == _ALREADY_EXISTS:
            raise _CreatedConcurrently(
                f"Another client created {call.parameters['StackName']} meanwhile; deploy again to update it."
            ) from error
        raise
    stack = wait_until_stable(aws, stack_id, schedule, notify)
    if stack.state in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
        return True
    reason = failure_reason(aws, stack_id, call.operation.partition("_")[0].upper())
    raise DeploymentFailed(f"Stack {stack.name} ended {stack.state}: {reason}.")


def _check(name: str, existing: Stack | None, bucket: Bucket) -> None:
    """Raises DeploymentFailed or AwsRefused for a stack or bucket that cannot be deployed to."""
    remedy = f"delete the rest with `hybrid-batch cloud destroy {name}`"
    if existing is None:
        if bucket.exists():
            if bucket.is_ours(None):
                raise DeploymentFailed(
                    f"Bucket {bucket.name} of an earlier deployment {name} exists without its stack; {remedy}."
                )
            raise AwsRefused(f"Bucket {bucket.name} exists and is not of a deployment; choose another --name.")
        return
    if not existing.is_ours:
        raise AwsRefused(f"Stack {name} exists and is not a deployment of a tail; choose another --name.")
    if existing.is_changing:
        raise DeploymentFailed(f"Stack {name} is being changed ({existing.state}); try again when that has ended.")
    if not existing.is_stable:
        left = len(resources(bucket.aws, existing))
        raise DeploymentFailed(
            f"Stack {name} is incomplete ({existing.state}, {left} resources); {remedy}, then deploy again."
        )
    if missing := find_missing(bucket.aws, existing):  # CloudFormation would not create them again
        raise DeploymentFailed(missing_message(name, missing))
