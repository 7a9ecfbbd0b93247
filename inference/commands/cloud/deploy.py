"""`hybrid-batch cloud deploy`: create or update a model's deployment in AWS."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from hybrid_batch.data.terminal.messages import check_confirmation, confirm, print_json, print_line, print_message
from hybrid_batch.inference.commands.cloud.output import name_option, print_step, waiting_options, yes_option
from hybrid_batch.inference.commands.options import ModelReference

if TYPE_CHECKING:
    from hybrid_batch.inference.cloud.deploy import Deployment, DeploymentSite
    from hybrid_batch.inference.cloud.deployment_spec import DeploymentSpec
    from hybrid_batch.inference.cloud.estimate import Estimate
    from hybrid_batch.inference.cloud.stack.stack import Stack
    from hybrid_batch.inference.model.bundle import Bundle


class EntryPoints(click.ParamType):  # type: ignore[type-arg]
    """Entry points, separated by commas."""

    name = "NAME,…"

    def convert(
        self, value: str | frozenset[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> frozenset[str]:
        """Return the set of names."""
        from hybrid_batch.inference.cloud.deployment_spec import ENTRY_POINTS

        if isinstance(value, frozenset):
            return value
        names = frozenset(name.strip() for name in value.split(",") if name.strip())
        if not names or (unknown := sorted(names - set(ENTRY_POINTS))):
            self.fail(f"{unknown[0] if names else ''!r} is not one of {', '.join(ENTRY_POINTS)}.", param, ctx)
        return names


@dataclass(frozen=True, slots=True)
class DeployOptions:
    """The options of `cloud deploy`."""

    model: str
    name: str | None
    entry_points: frozenset[str]
    arch: str
    python: str
    memory: int
    function_timeout: int
    concurrency: int
    cuts: str
    auth: str
    new_token: bool
    token_file: str | None
    max_workers: int
    spot: bool
    worker_image: str | None
    subnets: str
    alarm_topic: str | None
    permissions_boundary: str
    prices: str | None
    dry_run: bool
    yes: bool
    as_json: bool
    poll_interval: float
    wait_timeout: float


@click.command("deploy", short_help="Create or update a deployment.")
@click.argument("model", type=ModelReference(), default="digits")
@name_option
@click.option(
    "--entry-points",
    type=EntryPoints(),
    default="lambda,api",
    show_default=True,
    help="Entry points: lambda, api (HTTP API), url (function URL), queue (SQS), trigger (images uploaded to S3). "
    "Existing entry points not listed are removed.",
)
@click.option(
    "--arch",
    type=click.Choice(["x86_64", "arm64"]),
    default="x86_64",
    show_default=True,
    help="Processor architecture.",
)
@click.option(
    "--python",
    type=click.Choice(["3.11", "3.12"]),
    default="3.12",
    show_default=True,
    help="Python version of the function and the workers.",
)
@click.option(
    "--memory",
    type=click.IntRange(256, 10240),
    default=1769,
    show_default=True,
    metavar="MB",
    help="Memory of the function.",
)
@click.option(
    "--function-timeout",
    type=click.IntRange(1, 900),
    default=30,
    show_default=True,
    help="Timeout of the function in seconds.",
)
@click.option("--concurrency", type=click.IntRange(0), default=0, help="Reserved concurrency.  [default: none]")
@click.option(
    "--cuts",
    default="",
    metavar="CUT,…",
    help="Serve only these cuts, compiled at the start of the function.  [default: all, each at its first request]",
)
@click.option(
    "--auth", type=click.Choice(["token", "iam"]), default="token", show_default=True, help="Authorization of the API."
)
@click.option("--new-token", is_flag=True, help="Rotate the token; the old one stops working.")
@click.option("--token-file", type=click.Path(dir_okay=False), help="File for a new token, instead of printing it.")
@click.option(
    "--max-workers", type=click.IntRange(0, 100), default=15, show_default=True, help="Maximum number of workers."
)
@click.option("--spot", is_flag=True, help="Use spot instances for workers: cheaper, but AWS may stop them.")
@click.option(
    "--worker-image", metavar="AMI", help="Machine image for workers.  [default: the newest Amazon Linux 2023]"
)
@click.option("--subnets", default="", metavar="ID,…", help="Subnets for workers.  [default: those of the default VPC]")
@click.option("--alarm-topic", metavar="ARN", help="SNS topic for alarms.")
@click.option(
    "--permissions-boundary",
    default="HybridBatchBoundary",
    show_default=True,
    metavar="NAME|ARN|none",
    help="Policy that limits the roles of the deployment.",
)
@click.option("--prices", metavar="FILE", help="Price table (TOML).  [default: AWS in us-east-1]")
@click.option("--dry-run", is_flag=True, help="Print the plan and its cost; change nothing.")
@yes_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@waiting_options
def deploy(**options: object) -> None:
    """Create or update a deployment of MODEL in AWS.

    Prints the estimated cost and asks for confirmation. Then prints the addresses for `hybrid-batch run --tail`, and a
    new token, which is shown once because AWS stores only its hash. An idle deployment costs only
    storage and alarms, up to about one dollar per month. If the first deployment fails, its resources are deleted.

    \b
    Example:
      hybrid-batch cloud deploy digits --entry-points lambda,api,queue
      hybrid-batch run ./images --model digits --tail lambda:hybrid-batch-digits
    """
    _deploy(DeployOptions(**options))  # type: ignore[arg-type]


def _deploy(options: DeployOptions) -> None:
    from hybrid_batch.data.aws.poll_schedule import PollSchedule
    from hybrid_batch.data.errors import Interrupted
    from hybrid_batch.inference.cloud.deploy import apply_deployment, find_site, plan_deployment
    from hybrid_batch.inference.cloud.deployment_spec import check_name
    from hybrid_batch.inference.cloud.packaging.package import PackageSettings, build_package
    from hybrid_batch.inference.cloud.stack.api import check_credentials, open_aws
    from hybrid_batch.inference.model.cache import cache_folder
    from hybrid_batch.inference.model.importing.resolve_model import resolve_model

    # What AWS or the user may refuse comes before the work: the import of a model, and the package.
    if options.name is not None:
        check_name(options.name)
    check_confirmation(yes=options.yes or options.dry_run)
    aws = open_aws()
    check_credentials(aws)
    bundle = resolve_model(options.model, print_message)
    spec = _spec(options, bundle)
    site = find_site(aws, spec)
    costs = _estimate(options, spec, bundle)
    if not options.dry_run:
        _ask(site, bundle, costs, options.yes)
    settings = PackageSettings(bundle, architecture=spec.architecture, python=spec.python)
    package = build_package(settings, cache_folder("cloud") / f"{bundle.sha256[:16]}-{settings.name}")
    deployment = plan_deployment(aws, spec, package, renew_token=options.new_token)
    if options.dry_run:
        _print_plan(deployment, costs, options.as_json)
        return
    try:
        with _written_token(deployment, options.token_file):
            schedule = PollSchedule(options.poll_interval, options.wait_timeout)
            stack, changed = apply_deployment(deployment, schedule, print_step)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted: AWS continues to change {spec.name}; check it with `hybrid-batch cloud status`, delete it "
            f"with `hybrid-batch cloud destroy {spec.name}`."
        ) from None
    if not changed:
        print_message("Already up to date; nothing was changed.")
    _print_deployment(stack, deployment, options)


def _written_token(deployment: "Deployment", file: str | None) -> AbstractContextManager[None]:
    """Write a new token to the file before it is activated."""
    from pathlib import Path

    from hybrid_batch.inference.cloud.token import replace_token_file

    return replace_token_file(Path(file), deployment.token, print_step) if deployment.token and file else nullcontext()


def _spec(options: DeployOptions, bundle: "Bundle") -> "DeploymentSpec":
    from hybrid_batch.inference.cloud.deployment_spec import DeploymentSpec, default_name

    return DeploymentSpec(
        name=default_name(bundle.name) if options.name is None else options.name,
        entry_points=options.entry_points,
        architecture=options.arch,
        python=options.python,
        memory_mb=options.memory,
        timeout_s=options.function_timeout,
        concurrency=options.concurrency,
        auth=options.auth,
        cuts=tuple(bundle.cut(cut.strip()).id for cut in options.cuts.split(",") if cut.strip()),
        max_workers=options.max_workers,
        spot=options.spot,
        subnets=tuple(subnet.strip() for subnet in options.subnets.split(",") if subnet.strip()),
        alarm_topic=options.alarm_topic,
        boundary=options.permissions_boundary,
        worker_image=options.worker_image,
    )


def _estimate(options: DeployOptions, spec: "DeploymentSpec", bundle: "Bundle") -> "Estimate":
    from pathlib import Path

    from hybrid_batch.inference.cloud.estimate import estimate, measure_core_us
    from hybrid_batch.inference.planner.plan.prices import DEFAULT_PRICES, read_prices

    prices = read_prices(Path(options.prices) if options.prices else DEFAULT_PRICES)
    return estimate(spec, bundle, measure_core_us(bundle), prices)


def _ask(site: "DeploymentSite", bundle: "Bundle", costs: "Estimate", yes: bool) -> None:
    for line in costs.lines():
        print_message(line)
    name, region = site.spec.name, site.aws.region
    if before := site.replaced_bundle(bundle.sha256):
        print_message(f"{name} serves bundle {before[:12]} and will serve {bundle.sha256[:12]}.")
    if lost := site.removed_entry_points():
        print_message(f"removes: {', '.join(lost)}")
    verb = "Update" if site.existing else "Create"
    confirm(f"{verb} {name} in {region}?", yes=yes)


def _print_plan(deployment: "Deployment", costs: "Estimate", as_json: bool) -> None:
    plan = deployment.describe() | {"costs": costs.describe()}
    if as_json:
        print_json(plan)
        return
    for step in plan["plan"]:
        detail = step.get("to") or ", ".join(
            f"{one['ParameterKey']}={one.get('ParameterValue', '(unchanged)')}" for one in step["with"]["Parameters"]
        )
        print_line(f"{step['do']}: {detail}")
    for resource in plan["resources"]:
        print_line(f"resource: {resource}")
    print_line(f"roles: limited by {plan['permissions_boundary'] or 'no permissions boundary'}")
    if plan["removes"]:
        print_line(f"removes: {', '.join(plan['removes'])}")
    for line in costs.lines():
        print_line(line)
    print_message("Nothing was done.")


def _print_deployment(stack: "Stack", deployment: "Deployment", options: DeployOptions) -> None:
    from hybrid_batch.inference.cloud.status import tail_addresses

    tails, spill = tail_addresses(stack), stack.outputs["Spill"]
    shown = deployment.token if not options.token_file else None
    if options.as_json:
        result = {
            "deployment": stack.name,
            "tails": tails,
            "spill": spill,
            "removed": deployment.removed_entry_points(),
        }
        print_json(result | ({"token": shown} if shown else {}))
        return
    for address in tails.values():
        print_line(f"tail   {address}")
    print_line(f"spill  {spill}")
    if shown:
        print_line(f"token  {shown}")
        print_message("The token is shown only once; runs read it from HYBRID_BATCH_TAIL_TOKEN.")
