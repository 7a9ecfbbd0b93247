"""The shipped policies, evaluated: escalations are denied, and what commands and CloudFormation call is allowed."""

import json
import re
from pathlib import Path
from typing import Any

import botocore.client
import pytest

from hybrid_batch.cli import main as command
from hybrid_batch.inference.cloud.permissions.users import users_policy
from hybrid_batch.inference.cloud.stack.stack import Stack
from tests.cloud.template import read_template
from tests.cloud.test_stack import NAME, aws_client, build_package, deploy, spec  # noqa: F401 - a fixture
from tests.conftest import ROOT
from tests.iam_policies import ACCOUNT, Call, as_list, characters, is_allowed, shipped

FOLDER = "inference/cloud/permissions"
DEPLOYER = [shipped(f"{FOLDER}/deployer.json"), shipped(f"{FOLDER}/deployer-queue.json")]
BOUNDARY = shipped(f"{FOLDER}/boundary.json")
LIMIT = f"arn:aws:iam::{ACCOUNT}:policy/HybridBatchBoundary"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/hybrid-batch-x-FunctionRole"
STACK = f"arn:aws:cloudformation:eu-west-1:{ACCOUNT}:stack/{{}}/0f3a"
API = "arn:aws:apigateway:eu-west-1::"
TAG = {"aws:ResourceTag/hybrid-batch": "hybrid-batch-x"}
NEW_TAG = {"aws:RequestTag/hybrid-batch": "hybrid-batch-x", "aws:TagKeys": ["hybrid-batch"]}
MINE = {"s3:ResourceAccount": ACCOUNT}
FUNCTION = f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:hybrid-batch-x"
ALARM = f"arn:aws:cloudwatch:eu-west-1:{ACCOUNT}:alarm:hybrid-batch-x-errors"
TEMPLATES = f"arn:aws:ec2:eu-west-1:{ACCOUNT}:launch-template/lt-1"
ME, OTHER = "AIDAME", "AROAOTHER:session"

ESCALATIONS = {
    "a role without a boundary": Call("iam:CreateRole", ROLE),
    "a role with a boundary of one's own": Call(
        "iam:CreateRole", ROLE, {"iam:PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/hybrid-batch-all"}
    ),
    "rights for a role without a boundary": Call("iam:PutRolePolicy", ROLE),
    "a role without its boundary": Call("iam:DeleteRolePermissionsBoundary", ROLE, {"iam:PermissionsBoundary": LIMIT}),
    "a wider boundary for a role": Call(
        "iam:PutRolePermissionsBoundary",
        ROLE,
        {"iam:PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"},
    ),
    "AdministratorAccess for a role": Call("iam:AttachRolePolicy", ROLE, {"iam:PermissionsBoundary": LIMIT}),
    "AdministratorAccess for oneself": Call("iam:AttachUserPolicy", f"arn:aws:iam::{ACCOUNT}:user/me"),
    "another version of the boundary": Call("iam:CreatePolicyVersion", LIMIT),
    "the boundary deleted": Call("iam:DeletePolicy", LIMIT),
    "another version of a policy that users have": Call(
        "iam:CreatePolicyVersion", f"arn:aws:iam::{ACCOUNT}:policy/hybrid-batch-x-Users"
    ),
    "a role of an administrator trusted by oneself": Call("iam:UpdateAssumeRolePolicy", ROLE),
    "a role passed to CloudFormation": Call(
        "iam:PassRole", ROLE, {"iam:PassedToService": "cloudformation.amazonaws.com"}
    ),
    "a role passed to EC2 by a function's permission": Call(
        "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/Admin", {"iam:PassedToService": "lambda.amazonaws.com"}
    ),
    "a stack with the role of a service": Call(
        "cloudformation:UpdateStack", STACK.format("hybrid-batch-x"), TAG | {"cloudformation:RoleArn": ROLE}
    ),
    "another stack": Call("cloudformation:UpdateStack", STACK.format("billing"), TAG),
    "a stack of another program with such a name": Call("cloudformation:UpdateStack", STACK.format("hybrid-batch-own")),
    "a stack of another program deleted": Call("cloudformation:DeleteStack", STACK.format("hybrid-batch-own")),
    "a stack without the tag": Call("cloudformation:CreateStack", STACK.format("hybrid-batch-x")),
    "another API changed": Call("apigateway:PATCH", f"{API}/apis/other/routes/r", {"aws:ResourceTag/team": "web"}),
    "another API tagged": Call("apigateway:POST", f"{API}/apis/other", NEW_TAG),
    "another API tagged as one's own": Call(
        "apigateway:POST", f"{API}/tags/arn%3Aaws%3Aapigateway%3Aeu-west-1%3A%3A%2Fapis%2Fother", NEW_TAG
    ),
    "an API without the tag": Call("apigateway:POST", f"{API}/apis"),
    "a REST API": Call("apigateway:DELETE", f"{API}/restapis/other", TAG),
    "a function for all": Call("lambda:AddPermission", FUNCTION, {"lambda:Principal": "*"}),
    "a public function URL": Call("lambda:CreateFunctionUrlConfig", FUNCTION, {"lambda:FunctionUrlAuthType": "NONE"}),
    "another function": Call("lambda:UpdateFunctionCode", f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:billing"),
    "a package replaced": Call("s3:PutObject", "arn:aws:s3:::hybrid-batch-x/packages/a.zip", MINE),
    "a package put into a bucket of another account": Call(
        "s3:PutObject",
        "arn:aws:s3:::hybrid-batch-x/packages/a.zip",
        {"s3:ResourceAccount": "666666666666", "s3:if-none-match": "*"},
    ),
    "the frames of users": Call("s3:GetObject", f"arn:aws:s3:::hybrid-batch-x/spill/{ME}/a", MINE),
    "an alarm that stops machines": Call(
        "cloudwatch:PutMetricAlarm", ALARM, {"cloudwatch:AlarmActions": ["arn:aws:automate:eu-west-1:ec2:stop"]}
    ),
    "tags of foreign machines": Call("ec2:CreateTags", f"arn:aws:ec2:eu-west-1:{ACCOUNT}:instance/i-1"),
    "a machine of one's own": Call("ec2:RunInstances", f"arn:aws:ec2:eu-west-1:{ACCOUNT}:instance/*"),
    "a machine without IMDSv2": Call(
        "ec2:RunInstances",
        f"arn:aws:ec2:eu-west-1:{ACCOUNT}:instance/*",
        {"ec2:LaunchTemplate": TEMPLATES, "ec2:MetadataHttpTokens": "optional"},
    ),
    "another launch template": Call("ec2:CreateLaunchTemplateVersion", TEMPLATES),
    "a session of a role": Call("sts:AssumeRole", ROLE),
    "an access key": Call("iam:CreateAccessKey", f"arn:aws:iam::{ACCOUNT}:user/admin"),
}  # fmt: skip


@pytest.mark.parametrize("attempt", ESCALATIONS)
def test_a_deployer_cannot(attempt: str) -> None:
    assert not is_allowed(ESCALATIONS[attempt], DEPLOYER)


BEYOND = {
    "a role": Call("iam:CreateRole", ROLE, {"iam:PermissionsBoundary": LIMIT}),
    "an object of another bucket": Call("s3:GetObject", "arn:aws:s3:::billing/x", MINE),
    "logs of runs": Call("s3:GetObject", "arn:aws:s3:::hybrid-batch-x/logs/run=1/x", MINE),
    "a package": Call("s3:PutObject", "arn:aws:s3:::hybrid-batch-x/packages/x", MINE),
    "another queue": Call("sqs:SendMessage", f"arn:aws:sqs:eu-west-1:{ACCOUNT}:billing"),
    "a bucket of another account": Call(
        "s3:PutObject", "arn:aws:s3:::hybrid-batch-x/spill/x", {"s3:ResourceAccount": "666666666666"}
    ),
}


@pytest.mark.parametrize("attempt", BEYOND)
def test_a_role_with_all_rights_is_limited_by_the_boundary(attempt: str) -> None:
    everything = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    assert not is_allowed(BEYOND[attempt], [everything], BOUNDARY)


def resolve(value: Any) -> Any:
    """A part of the template with the names of the stack hybrid-batch-x."""
    name, bucket = "hybrid-batch-x", f"hybrid-batch-x-{ACCOUNT}-eu-west-1"
    arns = {
        "Bucket.Arn": f"arn:aws:s3:::{bucket}",
        "FunctionLogs.Arn": f"arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:/aws/lambda/{name}:*",
        "AuthorizerLogs.Arn": f"arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:/aws/lambda/{name}-authorizer:*",
        "Queue.Arn": f"arn:aws:sqs:eu-west-1:{ACCOUNT}:{name}",
    }
    words = {
        **arns,
        **{"AWS::Partition": "aws", "AWS::Region": "eu-west-1", "AWS::AccountId": ACCOUNT, "AWS::StackName": name},
        **{"Bucket": bucket, "Package": "packages/x.zip"},
    }
    if isinstance(value, dict) and set(value) == {"Sub"}:
        return re.sub(r"\$\{([^}]+)\}", lambda match: words[match[1]], value["Sub"])
    if isinstance(value, dict) and set(value) == {"GetAtt"}:
        return arns[value["GetAtt"]]
    if isinstance(value, dict) and set(value) == {"If"}:
        return resolve(value["If"][1])
    if isinstance(value, dict):
        return {key: resolve(one) for key, one in value.items()}
    return [resolve(one) for one in value] if isinstance(value, list) else value


def test_every_role_has_the_boundary_and_keeps_all_its_rights() -> None:
    roles = {name: one for name, one in read_template()["Resources"].items() if one["Type"] == "AWS::IAM::Role"}
    assert set(roles) == {"FunctionRole", "AuthorizerRole", "WorkerRole"}
    for role in roles.values():
        assert role["Properties"]["PermissionsBoundary"]["If"][:2] == ["HasBoundary", {"Ref": "PermissionsBoundary"}]
        for policy in role["Properties"]["Policies"]:
            document = resolve(policy["PolicyDocument"])
            for statement in document["Statement"]:
                for action in as_list(statement["Action"]):
                    for resource in as_list(statement["Resource"]):
                        call = Call(action, resource.replace("*", "x"), MINE)
                        assert is_allowed(call, [document], BOUNDARY), call


USERS = users_policy(
    Stack(
        "hybrid-batch-x",
        f"arn:aws:cloudformation:eu-west-1:{ACCOUNT}:stack/hybrid-batch-x/0f",
        "CREATE_COMPLETE",
        {},
        {"Bucket": "bucket", "Lambda": "lambda:x", "Queue": "sqs:x", "Api": "https://abc.execute-api.eu-west-1.x"},
        {},
    )
)
REPLIES = f"arn:aws:sqs:eu-west-1:{ACCOUNT}:hybrid-batch-x-replies-0123456789ab"
NOT_FOR_USERS = {
    "another user's request": Call("s3:GetObject", f"arn:aws:s3:::bucket/spill/{OTHER}/a", MINE),
    "the reply to another user": Call("s3:GetObject", f"arn:aws:s3:::bucket/trigger/out/{OTHER}/a", MINE),
    "another user's folder listed": Call("s3:ListBucket", "arn:aws:s3:::bucket", {"s3:prefix": f"spill/{OTHER}/"}),
    "all listed": Call("s3:ListBucket", "arn:aws:s3:::bucket", {"s3:prefix": "spill/"}),
    "all listed without a prefix": Call("s3:ListBucket", "arn:aws:s3:::bucket"),
    "an image in another user's name": Call("s3:PutObject", f"arn:aws:s3:::bucket/trigger/in/{OTHER}/a", MINE),
    "a folder whose name begins alike": Call("s3:GetObject", f"arn:aws:s3:::bucket/spill/{ME}2/a", MINE),
    "a reply queue": Call("sqs:ReceiveMessage", REPLIES, {"aws:ResourceTag/owner": OTHER}),
    "a reply queue without an owner": Call("sqs:ReceiveMessage", REPLIES),
    "a reply queue taken over": Call(
        "sqs:TagQueue", REPLIES, {"aws:ResourceTag/owner": OTHER, "aws:RequestTag/owner": ME}
    ),
    "a reply queue in another user's name": Call("sqs:CreateQueue", REPLIES, {"aws:RequestTag/owner": OTHER}),
    "the requests of all": Call("sqs:ReceiveMessage", f"arn:aws:sqs:eu-west-1:{ACCOUNT}:hybrid-batch-x"),
    "the package": Call("s3:GetObject", "arn:aws:s3:::bucket/packages/x.zip", MINE),
    "another API": Call("execute-api:Invoke", f"arn:aws:execute-api:eu-west-1:{ACCOUNT}:other/$default/POST/x"),
}
FOR_USERS = [
    *(Call(f"s3:{verb}Object", f"arn:aws:s3:::bucket/spill/{ME}/a", MINE) for verb in ("Get", "Put", "Delete")),
    Call("s3:PutObject", f"arn:aws:s3:::bucket/trigger/in/{ME}/b/0", MINE),
    Call("s3:GetObject", f"arn:aws:s3:::bucket/trigger/out/{ME}/b/0", MINE),
    Call("s3:ListBucket", "arn:aws:s3:::bucket", {"s3:prefix": f"trigger/out/{ME}/b/"}),
    Call("sqs:CreateQueue", REPLIES, {"aws:RequestTag/owner": ME}),
    Call("sqs:TagQueue", REPLIES, {"aws:RequestTag/owner": ME}),
    Call("sqs:TagQueue", REPLIES, {"aws:ResourceTag/owner": ME}),
    *(
        Call(f"sqs:{verb}", REPLIES, {"aws:ResourceTag/owner": ME})
        for verb in ("ReceiveMessage", "DeleteMessage", "DeleteQueue", "GetQueueUrl", "GetQueueAttributes")
    ),
    Call("sqs:SendMessage", f"arn:aws:sqs:eu-west-1:{ACCOUNT}:hybrid-batch-x"),
    Call("lambda:InvokeFunction", FUNCTION),
    Call("execute-api:Invoke", f"arn:aws:execute-api:eu-west-1:{ACCOUNT}:abc/$default/POST/v2"),
]


def as_user(call: Call) -> Call:
    return Call(call.action, call.resource, {**call.context, "aws:userid": ME})


@pytest.mark.parametrize("attempt", NOT_FOR_USERS)
def test_a_user_cannot_reach(attempt: str) -> None:
    assert not is_allowed(as_user(NOT_FOR_USERS[attempt]), [USERS])


@pytest.mark.parametrize("wildcard", ["*", "A*", "?"])
def test_a_user_id_is_not_a_pattern(wildcard: str) -> None:
    call = Call("s3:GetObject", f"arn:aws:s3:::bucket/spill/{OTHER}/a", MINE | {"aws:userid": wildcard})
    assert not is_allowed(call, [USERS])


def test_users_may_do_what_clients_do() -> None:
    for call in FOR_USERS:
        assert is_allowed(as_user(call), [USERS]), call


def test_the_policies_fit_into_aws() -> None:
    for path in sorted((ROOT / FOLDER).glob("*.json")):
        assert characters(path) <= 6144, path


# Permissions of CloudFormation's handlers for properties that the template does not set.
UNUSED = re.compile(
    r"kms:|s3tables:|s3files:|elasticfilesystem:|elasticloadbalancing:|vpc-lattice:|managed-fleets:|firehose:"
    r"|s3:(REST|getObject|GetObjectVersion|TagResource|GetBucketAcl|PutObjectAcl|GetBucketMeta|CreateBucketMeta|PutBucketAbac)"
    r"|s3:Put(Analytics|BucketCORS|Inventory|Metrics|BucketReplication|BucketWebsite|Accelerate|Replication"
    r"|BucketObjectLock|ObjectLock|BucketVersioning|IntelligentTiering)"
    r"|logs:.*(DataProtection|IndexPolic|BearerToken)"
    r"|iam:(AttachRolePolicy|DetachRolePolicy|UntagRole)"
    r"|lambda:.*(CodeSigning|Layer|RuntimeManagement|Recursion|Scaling|CapacityProvider|AssociateRuntime|Provisioned)"
    r"|ec2:(Describe(SecurityGroups|Vpcs|NetworkInterfaces|\*)|Get\*|DeleteTags)|ssm:Get\*|autoscaling:(Describe\*|PutNotif)"
    r"|apigateway:PUT"
)
WITH_ROLES = ("AWS::ApiGatewayV2::Integration", "AWS::ApiGatewayV2::Authorizer", "AWS::S3::Bucket")


def calls_of(kind: str, action: str) -> list[Call]:
    """The calls that CloudFormation makes with the rights of the deployer for an action of a handler."""
    service, _, verb = action.partition(":")
    if action == "iam:PassRole":
        service = "ec2.amazonaws.com" if kind.endswith(("InstanceProfile", "Group")) else "lambda.amazonaws.com"
        return [] if kind in WITH_ROLES else [Call(action, ROLE, {"iam:PassedToService": service})]
    group = f"arn:aws:autoscaling:eu-west-1:{ACCOUNT}:autoScalingGroup:u:autoScalingGroupName/hybrid-batch-x"
    policy = f"arn:aws:autoscaling:eu-west-1:{ACCOUNT}:scalingPolicy:u:autoScalingGroupName/hybrid-batch-x:policyName/p"
    roles = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role"
    special = {
        "iam:CreateServiceLinkedRole": Call(
            action,
            f"{roles}/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling",
            {"iam:AWSServiceName": "autoscaling.amazonaws.com"},
        ),
        "ec2:CreateTags": Call(action, TEMPLATES, {"ec2:CreateAction": "CreateLaunchTemplate"}),
        "ec2:CreateLaunchTemplate": Call(action, TEMPLATES, NEW_TAG),
        "ec2:RunInstances": Call(
            action,
            f"arn:aws:ec2:eu-west-1:{ACCOUNT}:instance/*",
            {"ec2:LaunchTemplate": TEMPLATES, "ec2:MetadataHttpTokens": "required"},
        ),
        "lambda:AddPermission": Call(action, FUNCTION, {"lambda:Principal": "apigateway.amazonaws.com"}),
        "cloudwatch:PutMetricAlarm": Call(action, ALARM, {"cloudwatch:AlarmActions": [policy]}),
        "s3:GetObject": Call(action, "arn:aws:s3:::hybrid-batch-x/packages/x.zip", MINE),
        "s3:DeleteObject": Call(action, "arn:aws:s3:::hybrid-batch-x/packages/x.zip", MINE),
        "apigateway:TagResource": Call(action, f"{API}/tags/x", NEW_TAG | TAG),
    }
    if action in special:
        return [special[action]]
    if action == "apigateway:POST" and kind.endswith("::Api"):
        return [Call(action, f"{API}/apis", NEW_TAG)]
    resources = {
        "s3": ("arn:aws:s3:::hybrid-batch-x", MINE),
        "logs": (f"arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:/aws/vendedlogs/apis/hybrid-batch-x:*", {}),
        "iam": (ROLE.replace("role/", "instance-profile/") if "InstanceProfile" in verb else ROLE, {}),
        "lambda": (FUNCTION, {"lambda:FunctionUrlAuthType": "AWS_IAM"}),
        "apigateway": (f"{API}/apis/x/routes/r", TAG),
        "sqs": (f"arn:aws:sqs:eu-west-1:{ACCOUNT}:hybrid-batch-x", {}),
        "cloudwatch": (ALARM, {}),
        "autoscaling": (group, {}),
        "ec2": (TEMPLATES, TAG),
    }
    resource, context = resources[service]
    if service == "iam" and verb.endswith("RolePolicy"):
        context = {"iam:PermissionsBoundary": LIMIT}
    if verb == "CreateRole":
        context = {"iam:PermissionsBoundary": LIMIT}
    if verb == "TagRole":
        context = {"aws:TagKeys": ["hybrid-batch", "aws:cloudformation:stack-name"]}
    return [Call(action, resource, context)]


@pytest.mark.slow
def test_the_deployer_may_do_what_cloudformation_does_for_each_resource() -> None:
    """CloudFormation uses the deployer's rights; the schemas of its resource types list what it calls."""
    from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

    checked = 0
    for kind in sorted({one["Type"] for one in read_template()["Resources"].values()}):
        handlers = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema.get("handlers", {})
        for operation in ("create", "delete"):
            for action in handlers.get(operation, {}).get("permissions", ()):
                if UNUSED.match(action):
                    continue
                for call in calls_of(kind, action):
                    assert is_allowed(call, DEPLOYER), (kind, call)
                    checked += 1
    assert checked > 80


_SERVICES = {"CloudFormation": "cloudformation", "S3": "s3", "SQS": "sqs", "Lambda": "lambda", "STS": "sts"}
_SERVICES |= {"CloudWatch Logs": "logs", "Auto Scaling": "autoscaling", "IAM": "iam"}
_ACTIONS = {
    "HeadBucket": ["ListBucket"],
    "ListObjectsV2": ["ListBucket"],
    "ListObjectVersions": ["ListBucketVersions"],
    "HeadObject": ["GetObject"],
    "DeleteObjects": ["DeleteObject", "DeleteObjectVersion"],
}


def to_calls(service: str, operation: str, parameters: dict[str, Any]) -> list[Call]:
    """What IAM evaluates for a request of boto3."""
    prefix = _SERVICES[service]
    key = parameters.get("Key") or next((one["Key"] for one in parameters.get("Delete", {}).get("Objects", ())), None)
    name = parameters.get("StackName") or parameters.get("FunctionName") or parameters.get("QueueName") or "*"
    name = parameters.get("QueueUrl", name).rpartition("/")[2] if prefix == "sqs" else name
    resource = {
        "s3": f"arn:aws:s3:::{parameters.get('Bucket', '')}" + (f"/{key}" if key else ""),
        "cloudformation": name if name.startswith("arn:") else STACK.format(name),
        "lambda": f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:{name}",
        "sqs": f"arn:aws:sqs:eu-west-1:{ACCOUNT}:{name}",
        "iam": parameters.get("PolicyArn", ""),
        "logs": f"arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:{parameters.get('logGroupName', '')}",
    }.get(prefix, "*")
    context: dict[str, str | list[str]] = {**MINE, **TAG}
    if "IfNoneMatch" in parameters:
        context["s3:if-none-match"] = parameters["IfNoneMatch"]
    if operation == "CreateStack":
        context = {f"aws:RequestTag/{one['Key']}": one["Value"] for one in parameters["Tags"]}
    account = resource.replace("000000000000", ACCOUNT)
    return [Call(f"{prefix}:{one}", account, context) for one in _ACTIONS.get(operation, [operation])]


def test_the_deployer_may_send_every_request_of_the_commands(
    aws: str,
    aws_client: Any,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import boto3

    sent: list[Call] = []
    original = botocore.client.BaseClient._make_api_call

    def record(self: Any, operation: str, parameters: dict[str, Any]) -> Any:
        sent.extend(to_calls(self.meta.service_model.service_id, operation, parameters))
        return original(self, operation, parameters)

    limit = boto3.client("iam").create_policy(PolicyName="HybridBatchBoundary", PolicyDocument=json.dumps(BOUNDARY))
    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", record)
    requested = spec(NAME, "lambda", "api", "queue", "trigger", boundary="HybridBatchBoundary")
    stack, _ = deploy(aws_client, build_package(tmp_path), requested)
    assert stack.parameters["PermissionsBoundary"] == limit["Policy"]["Arn"]
    deploy(aws_client, build_package(tmp_path, "2"), requested)
    assert command(["cloud", "status", NAME]) == 0
    assert command(["cloud", "destroy", NAME, "--yes", "--poll-interval", "0.1"]) == 0
    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", original)
    boto3.client("iam").delete_policy(PolicyArn=limit["Policy"]["Arn"])
    actions = {one.action for one in sent}
    assert {"s3:PutObject", "s3:PutBucketLogging", "lambda:GetFunctionConfiguration", "iam:GetPolicy"} <= actions
    denied = [one for one in sent if one.action != "sts:GetCallerIdentity" and not is_allowed(one, DEPLOYER)]
    assert not denied
