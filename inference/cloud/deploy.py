"""Deploying: the bucket first, then the package in it, then all the rest; or what stands, brought up to date."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hybrid_batch.data.aws.aws_client import Api, Call
from hybrid_batch.data.aws.poll_schedule import Patience
from hybrid_batch.data.errors import AwsRefused, HybridBatchError, StackFailed
from hybrid_batch.data.storage.ensure_object import Upload
from hybrid_batch.inference.cloud.bucket import PACKAGES, Bucket
from hybrid_batch.inference.cloud.deployment_spec import Wanted
from hybrid_batch.inference.cloud.destroy import destroy, find_remains
from hybrid_batch.inference.cloud.packaging.package import Package
from hybrid_batch.inference.cloud.stack import (
    UNCHANGED,
    Stack,
    await_end,
    find_stack,
    resources,
    stack_call,
    why_failed,
)
from hybrid_batch.inference.cloud.status import find_gone, tails_of, tell_gone
from hybrid_batch.inference.cloud.token import new_token, token_hash

_TOKEN = "TokenSha256"  # noqa: S105 - the name of a parameter
_STANDS = "AlreadyExistsException"


class _MadeByOthers(StackFailed):
    """What is being made for the first time stands."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """All that deploying will do. `standing` is the stack it starts from, `token` the new one if one is needed."""

    api: Api
    wanted: Wanted
    package: Package
    bucket: Bucket
    standing: Stack | None
    token: str | None = field(repr=False)

    @property
    def bundle(self) -> str:
        """The hash of the bundle."""
        return self.package.bundle_sha256

    @property
    def key(self) -> str:
        """Where the package goes in the bucket; equal keys are equal packages."""
        return f"{PACKAGES}{self.package.sha256}.zip"

    def steps(self) -> list[Call | Upload]:
        """What is done, in this order."""
        path = self.package.path
        upload = Upload(f"s3://{self.bucket.name}/{self.key}", path.read_bytes, path.stat().st_size)
        if self.standing:
            return [upload, self._call("update_stack")]
        return [self._first(), upload, self._call("update_stack")]

    def describe(self) -> dict[str, Any]:
        """As JSON, without the template's text and what comes of a token that is thrown away after a dry run."""
        steps = [step.describe() for step in self.steps()]
        for step in steps:
            if "with" in step:
                step["with"] = {key: value for key, value in step["with"].items() if key != "TemplateBody"}
                for one in step["with"]["Parameters"]:
                    if one["ParameterKey"] == _TOKEN and one.get("ParameterValue"):
                        one["ParameterValue"] = "(of a new token)"
        return {
            "deployment": self.wanted.name,
            "region": self.api.region,
            "bundle": self.bundle,
            "removes": self.removes(),
            "plan": steps,
        }

    def replaces(self) -> str | None:
        """The hash of another bundle that is deployed there now."""
        before = self.standing.parameters.get("Bundle") if self.standing else None
        return before if before != self.bundle else None

    def removes(self) -> list[str]:
        """The ways in that stand and are not asked for."""
        return [way for way in tails_of(self.standing) if not self.wanted.leads(way)] if self.standing else []

    def _first(self) -> Call:
        nothing = self.wanted.parameters(self.bundle, "")
        return stack_call("create_stack", self.wanted.name, nothing | {_TOKEN: ""})

    def _call(self, operation: str) -> Call:
        stays = self.wanted.needs_token and self.token is None
        token = None if stays else token_hash(self.token) if self.token else ""
        parameters = self.wanted.parameters(self.bundle, self.key)
        return stack_call(operation, self.wanted.name, {**parameters, _TOKEN: token})


def plan_deployment(api: Api, wanted: Wanted, package: Package, *, renew_token: bool) -> Deployment:
    """What there is to do. Raises WrongUsage, AwsRefused, AwsUnreachable, and StackFailed for a stack that stands half,
    lacks something or is being changed."""
    wanted.check()
    bucket = Bucket.of(api, wanted.name)
    standing = find_stack(api, wanted.name)
    _check(wanted.name, standing, bucket)
    has_token = standing is not None and standing.parameters.get("Api") == "token"
    token = new_token() if wanted.needs_token and (renew_token or not has_token) else None
    return Deployment(api, wanted, package, bucket, standing, token)


def deploy(deployment: Deployment, patience: Patience, tell: Callable[[str], None]) -> tuple[Stack, bool]:
    """Carry it out: the stack as it stands then, and whether anything had to change. What was made in vain is removed
    again; what stood before stands as before. Raises StackFailed, AwsRefused, AwsUnreachable, StorageFailed,
    PackageFailed."""
    try:
        return _deploy(deployment, patience, tell)
    except HybridBatchError as error:
        if deployment.standing or isinstance(error, _MadeByOthers):
            raise
        raise _undone(deployment, error, patience, tell) from error


def _undone(
    deployment: Deployment, error: HybridBatchError, patience: Patience, tell: Callable[[str], None]
) -> HybridBatchError:
    """What to say after a first deployment failed, once nothing of it is left that costs money."""
    said, name = str(error).rstrip("."), deployment.wanted.name
    try:
        if find_remains(deployment.api, name).is_nothing:
            return error
        tell("removing what was made")
        destroy(deployment.api, name, patience, tell)
    except HybridBatchError as second:
        return StackFailed(
            f"{said}; what was made of it cannot be removed ({str(second).rstrip('.')}), `hybrid-batch cloud destroy "
            f"{name}` tries again."
        )
    return StackFailed(f"{said}; what was made of it is removed again.")


def _deploy(deployment: Deployment, patience: Patience, tell: Callable[[str], None]) -> tuple[Stack, bool]:
    api, changed = deployment.api, False
    for step in deployment.steps():
        if isinstance(step, Upload):
            tell(f"package to {step.uri}")
            step.carry_out()
            continue
        stack = _change(api, step, patience, tell)
        changed = stack is not None
    standing = find_stack(api, deployment.wanted.name)
    if standing is None:
        raise StackFailed(f"Stack {deployment.wanted.name} is gone again; somebody else deleted it.")
    deployment.bucket.keep_package(deployment.key)
    return standing, changed


def _change(api: Api, call: Call, patience: Patience, tell: Callable[[str], None]) -> Stack | None:
    """Create or update the stack, and wait; None if it was as it should be."""
    # By this CloudFormation knows a request that comes a second time, because the answer to the first was lost.
    parameters = call.parameters | {"ClientRequestToken": uuid.uuid4().hex}
    try:
        stack_id = str(api.ask(call.service, call.operation, **parameters)["StackId"])
    except AwsRefused as error:
        if UNCHANGED in str(error):
            return None
        if error.code == _STANDS:
            raise _MadeByOthers(
                f"Somebody else made {call.parameters['StackName']} meanwhile; deploy again to change it."
            ) from error
        raise
    stack = await_end(api, stack_id, patience, tell)
    if stack.state in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
        return stack
    reason = why_failed(api, stack_id, call.operation.partition("_")[0].upper())
    raise StackFailed(f"Stack {stack.name} ended {stack.state}: {reason}.")


def _check(name: str, standing: Stack | None, bucket: Bucket) -> None:
    remedy = f"`hybrid-batch cloud destroy {name}` removes what is left"
    if standing is None:
        if bucket.stands():
            if bucket.is_ours(None):
                raise StackFailed(f"Bucket {bucket.name} of an earlier {name} stands without its stack; {remedy}.")
            raise AwsRefused(f"Bucket {bucket.name} stands and is no deployment's; choose another --name.")
        return
    if not standing.is_ours:
        raise AwsRefused(f"Stack {name} stands and is no deployment of a tail; choose another --name.")
    if standing.is_changing:
        raise StackFailed(f"Stack {name} is being changed ({standing.state}); ask again when that has ended.")
    if not standing.stands:
        left = len(resources(bucket.api, standing))
        raise StackFailed(
            f"Stack {name} stands half ({standing.state}, {left} resources); {remedy}, then deploy again."
        )
    if gone := find_gone(bucket.api, standing):  # CloudFormation would not make it again
        raise StackFailed(tell_gone(name, gone))
