"""`hybrid-batch cloud deploy`: a model's tail in the cloud."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from hybrid_batch.inference.commands.cloud.show import name_option, show_json, tell, waiting_options, yes_option

if TYPE_CHECKING:
    from hybrid_batch.inference.cloud.deploy import Deployment
    from hybrid_batch.inference.cloud.deployment_spec import Wanted
    from hybrid_batch.inference.cloud.estimate import Estimate
    from hybrid_batch.inference.cloud.stack import Stack
    from hybrid_batch.inference.model.bundle import Bundle


class Parts(click.ParamType):  # type: ignore[type-arg]
    """Ways into the cloud, separated by commas."""

    name = "PARTS"

    def convert(
        self, value: str | frozenset[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> frozenset[str]:
        """See click.ParamType."""
        from hybrid_batch.inference.cloud.deployment_spec import PARTS

        if isinstance(value, frozenset):
            return value
        parts = frozenset(part.strip() for part in value.split(",") if part.strip())
        if not parts or (unknown := sorted(parts - set(PARTS))):
            self.fail(f"{unknown[0] if parts else ''!r} is none of {', '.join(PARTS)}.", param, ctx)
        return parts


@dataclass(frozen=True, slots=True)
class DeployOptions:
    """The options of the command, whole."""

    model: str
    name: str | None
    parts: frozenset[str]
    arch: str
    python: str
    memory: int
    timeout: int
    concurrency: int
    cuts: str
    auth: str
    new_token: bool
    token_file: str | None
    max_workers: int
    spot: bool
    subnets: str
    alarm_topic: str | None
    prices: str | None
    dry_run: bool
    yes: bool
    as_json: bool
    poll: float
    wait: float


@click.command("deploy", short_help="Make or change a model's tail in AWS.")
@click.argument("model", default="digits")
@name_option
@click.option(
    "--with",
    "parts",
    type=Parts(),
    default="lambda,api",
    show_default=True,
    help="Ways in: lambda, api (HTTP), url (of the function), queue, trigger (pictures put into S3).",
)
@click.option("--arch", type=click.Choice(["x86_64", "arm64"]), default="x86_64", show_default=True)
@click.option(
    "--python",
    type=click.Choice(["3.11", "3.12"]),
    default="3.12",
    show_default=True,
    help="Version there, see `package`.",
)
@click.option("--memory", type=click.IntRange(256, 10240), default=1769, show_default=True, metavar="MB")
@click.option("--timeout", type=click.IntRange(1, 900), default=30, show_default=True, help="Seconds for an answer.")
@click.option("--concurrency", type=click.IntRange(0), default=0, help="Requests at once.  [default: the account's]")
@click.option("--cuts", default="", metavar="CUT,…", help="Cuts to compile while the function starts.")
@click.option("--auth", type=click.Choice(["token", "iam"]), default="token", show_default=True, help="For the API.")
@click.option("--new-token", is_flag=True, help="Make another token; the one before is no longer good.")
@click.option("--token-file", type=click.Path(dir_okay=False), help="Write a new token there and do not print it.")
@click.option("--max-workers", type=click.IntRange(0, 100), default=15, show_default=True, help="Machines at most.")
@click.option("--spot", is_flag=True, help="Workers on spot machines: cheaper, and may be taken away.")
@click.option("--subnets", default="", metavar="ID,…", help="Where workers stand.  [default: the default VPC's]")
@click.option("--alarm-topic", metavar="ARN", help="The SNS topic that alarms tell.")
@click.option("--prices", metavar="FILE", help="What AWS takes, a TOML table.  [default: us-east-1]")
@click.option("--dry-run", is_flag=True, help="Print what would be made and what it would cost, and make nothing.")
@yes_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@waiting_options
def deploy(**options: object) -> None:
    """Make a tail of MODEL in the cloud of AWS, or bring the one that stands up to date.

    Says first what it will cost. Prints the addresses for --tail, and a new token once: only its hash is kept. Idle it
    costs next to nothing. What a first deployment made before it failed is removed again.

    \b
    Example:
      hybrid-batch cloud deploy digits --with lambda,api,queue
      hybrid-batch run ./images --model digits --tail lambda:hybrid-batch-digits
    """
    _deploy(DeployOptions(**options))  # type: ignore[arg-type]


def _deploy(options: DeployOptions) -> None:
    from hybrid_batch.data.aws.poll_schedule import Patience
    from hybrid_batch.data.errors import Interrupted
    from hybrid_batch.inference.cloud.api import open_api
    from hybrid_batch.inference.cloud.deploy import deploy as carry_out
    from hybrid_batch.inference.cloud.deploy import plan_deployment
    from hybrid_batch.inference.cloud.packaging.package import PackageSettings, make_package
    from hybrid_batch.inference.model.cache import cache_folder
    from hybrid_batch.inference.model.importing.resolve_model import open_model

    bundle = open_model(options.model, lambda line: click.echo(line, err=True))
    wanted = _wanted(options, bundle)
    wanted.check()
    settings = PackageSettings(bundle, architecture=wanted.architecture, python=wanted.python)
    package = make_package(settings, cache_folder("cloud") / f"{bundle.sha256[:16]}-{settings.name}")
    deployment = plan_deployment(open_api(), wanted, package, renew_token=options.new_token)
    costs = _estimate(options, wanted, bundle, package.path.stat().st_size)
    if options.dry_run:
        _show_plan(deployment, costs, options.as_json)
        return
    _confirm(deployment, costs, options.yes)
    try:
        with _token_kept(deployment, options.token_file):
            stack, changed = carry_out(deployment, Patience(options.poll, options.wait), tell)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted: what was begun of {wanted.name} goes on in the cloud; `hybrid-batch cloud status` shows it, "
            f"`hybrid-batch cloud destroy {wanted.name}` removes it."
        ) from None
    if not changed:
        click.echo("Everything stands as it should; nothing was changed.", err=True)
    _show(stack, deployment, options)


def _token_kept(deployment: "Deployment", file: str | None) -> AbstractContextManager[None]:
    """A new token is in the file before anything is changed."""
    from pathlib import Path

    from hybrid_batch.inference.cloud.token import replacing

    return replacing(Path(file), deployment.token, tell) if deployment.token and file else nullcontext()


def _wanted(options: DeployOptions, bundle: "Bundle") -> "Wanted":
    from hybrid_batch.inference.cloud.deployment_spec import Wanted, default_name

    return Wanted(
        name=default_name(bundle.name) if options.name is None else options.name,
        parts=options.parts,
        architecture=options.arch,
        python=options.python,
        memory_mb=options.memory,
        timeout_s=options.timeout,
        concurrency=options.concurrency,
        auth=options.auth,
        cuts=tuple(bundle.cut(cut.strip()).id for cut in options.cuts.split(",") if cut.strip()),
        max_workers=options.max_workers,
        spot=options.spot,
        subnets=tuple(subnet.strip() for subnet in options.subnets.split(",") if subnet.strip()),
        alarm_topic=options.alarm_topic,
    )


def _estimate(options: DeployOptions, wanted: "Wanted", bundle: "Bundle", package_bytes: int) -> "Estimate":
    from pathlib import Path

    from hybrid_batch.inference.cloud.estimate import estimate, measure_core_us
    from hybrid_batch.inference.planner.plan.prices import TABLE, read_prices

    prices = read_prices(Path(options.prices) if options.prices else TABLE)
    return estimate(wanted, package_bytes, measure_core_us(bundle), prices)


def _confirm(deployment: "Deployment", costs: "Estimate", sure: bool) -> None:
    from hybrid_batch.inference.commands.confirm import confirm

    for line in costs.lines():
        click.echo(line, err=True)
    name, region = deployment.wanted.name, deployment.api.region
    if before := deployment.replaces():
        click.echo(f"{name} serves bundle {before[:12]} now, and will serve {deployment.bundle[:12]}.", err=True)
    if lost := deployment.removes():
        click.echo(f"removes: {', '.join(lost)}", err=True)
    verb = "Update" if deployment.standing else "Make"
    confirm(f"{verb} {name} in {region}?", sure=sure)


def _show_plan(deployment: "Deployment", costs: "Estimate", as_json: bool) -> None:
    plan = deployment.describe() | {"costs": costs.describe()}
    if as_json:
        show_json(plan)
        return
    for step in plan["plan"]:
        detail = step.get("to") or ", ".join(
            f"{one['ParameterKey']}={one.get('ParameterValue', '(as it is)')}" for one in step["with"]["Parameters"]
        )
        click.echo(f"{step['do']}: {detail}")
    if plan["removes"]:
        click.echo(f"removes: {', '.join(plan['removes'])}")
    for line in costs.lines():
        click.echo(line)
    click.echo("Nothing was done.", err=True)


def _show(stack: "Stack", deployment: "Deployment", options: DeployOptions) -> None:
    from hybrid_batch.inference.cloud.status import tails_of

    tails, spill = tails_of(stack), stack.outputs["Spill"]
    shown = deployment.token if not options.token_file else None
    if options.as_json:
        told = {"deployment": stack.name, "tails": tails, "spill": spill, "removed": deployment.removes()}
        show_json(told | ({"token": shown} if shown else {}))
        return
    for address in tails.values():
        click.echo(f"tail   {address}")
    click.echo(f"spill  {spill}")
    if shown:
        click.echo(f"token  {shown}")
        click.echo("The token is shown this once; runs take it from HYBRID_BATCH_TAIL_TOKEN.", err=True)
