"""`hybrid-batch serve`: serve the tails of a model over HTTP."""

from typing import Any, Literal

import click

from hybrid_batch.data.terminal.messages import is_verbose, print_json, print_message, print_warning
from hybrid_batch.inference.commands.options import ModelReference, cuts_option, max_compiled_option, runtime_option
from hybrid_batch.inference.commands.serve.access_options import access_options, make_access, make_connections


@click.command("serve", short_help="Serve a model's tails over HTTP.")
@click.argument("model", type=ModelReference(), default="digits")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 for a free one.")
@runtime_option
@click.option(
    "--processes", type=click.IntRange(1), default=1, show_default=True, help="Processes that share the port."
)
@click.option(
    "--max-batch", type=click.IntRange(1), default=64, show_default=True, help="Images in one call of the runtime."
)
@click.option(
    "--max-request-mb", type=click.IntRange(1, 1024), default=64, show_default=True, help="Largest request, in MiB."
)
@click.option(
    "--max-pending",
    type=click.IntRange(1),
    default=128,
    show_default=True,
    help="Requests in progress or waiting; others get 429.",
)
@click.option(
    "--max-pixels",
    type=click.IntRange(1, 1000),
    default=50,
    show_default=True,
    metavar="MEGAPIXELS",
    help="Largest uploaded image; memory and time grow with it.",
)
@click.option("--spill", metavar="s3://…", help="S3 prefix for request bodies that are too large.")
@access_options
@cuts_option
@max_compiled_option
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form of the log."
)
@click.option("--access-log", is_flag=True, help="Log a line for each request on stderr; -v does the same.")
@click.option("--json", "as_json", is_flag=True, help='Print {"url": …} on stdout when ready.')
def command(
    model: str,
    *,
    host: str,
    port: int,
    runtime: str,
    processes: int,
    max_batch: int,
    max_request_mb: int,
    max_pending: int,
    max_pixels: int,
    spill: str | None,
    cuts: tuple[str, ...],
    max_compiled_mb: int,
    log_format: Literal["text", "json"],
    access_log: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - those of access_options
) -> None:
    """Serve the tails of MODEL over HTTP with the Open Inference Protocol v2.

    Every cut is a version of the model; version c000 is the whole model. Requests for the same cut that arrive while
    the runtime is busy are computed as one batch. On SIGTERM and Ctrl-C running requests finish and new ones are
    rejected; on SIGHUP tokens and certificates are read again.

    On 127.0.0.1 any local user may use the server. On other addresses clients need a token (--token-file) or a
    certificate (--tls-client-ca); /v2/health/live and /v2/health/ready need neither.

    \b
    Example:
      hybrid-batch serve digits --port 8000
      hybrid-batch run ./images --split auto --tail http://127.0.0.1:8000
      hybrid-batch serve digits --host 0.0.0.0 --token-file tokens --tls-certificate cert.pem --tls-key key.pem
    """
    from hybrid_batch.data.images.decoding.pixel_budget import MEGA, PixelBudget
    from hybrid_batch.inference.model.importing.resolve_model import resolve_model
    from hybrid_batch.inference.serving.http.async_handler import ServerSettings
    from hybrid_batch.inference.serving.http.connections.peers import is_loopback
    from hybrid_batch.inference.serving.http.launch import serve
    from hybrid_batch.inference.serving.monitoring.request_log import RequestLog

    access = make_access(options)
    bundle = resolve_model(model, print_message)
    if access.is_open and not access.authenticates:
        print_warning(f"the server on {host} does not authenticate clients; any host that reaches it can use it.")
    if access.token_file is not None and access.tls is None and not is_loopback(host):
        print_warning(
            f"tokens reach the server on {host} unencrypted; give --tls-certificate, or put a proxy with TLS before it."
        )

    def announce(url: str) -> None:
        line = f"Serving {bundle.name} ({bundle.sha256[:12]}) on {url}"
        if log_format == "json":
            RequestLog(log_format).message(line)
        else:
            print_message(line)
        if as_json:
            print_json({"url": url})

    settings = ServerSettings(
        bundle,
        runtime,
        max_batch,
        max_request_mb << 20,
        max_pending,
        spill=spill,
        pixels=PixelBudget(max_pixels * MEGA),
        cuts=cuts,
        max_compiled_bytes=max_compiled_mb << 20,
        log_format=log_format,
        access_log=access_log or is_verbose(),
        connections=make_connections(options),
        access=access,
    )
    serve(settings, host, port, processes, announce)
