"""`hybrid-batch serve`: serve the tails of a model over HTTP."""

import click

from hybrid_batch.data.terminal.messages import print_json, print_message, print_warning
from hybrid_batch.inference.commands.options import ModelReference, runtime_option


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
@click.option("--spill", metavar="s3://…", help="S3 prefix for request bodies that are too large.")
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
    spill: str | None,
    as_json: bool,
) -> None:
    """Serve the tails of MODEL over HTTP with the Open Inference Protocol v2.

    Every cut is a version of the model; version c000 is the whole model. Requests for the same cut that arrive while
    the runtime is busy are computed as one batch. The server does not authenticate clients: bind it to 127.0.0.1, or
    put it behind a proxy that does. On SIGTERM and Ctrl-C running requests finish and new ones are rejected.

    \b
    Example:
      hybrid-batch serve digits --port 8000
      hybrid-batch run ./images --split auto --tail http://127.0.0.1:8000
    """
    from hybrid_batch.inference.model.importing.resolve_model import resolve_model
    from hybrid_batch.inference.serving.http.async_handler import ServerSettings
    from hybrid_batch.inference.serving.http.launch import serve

    bundle = resolve_model(model, print_message)
    if host not in ("127.0.0.1", "localhost", "::1"):
        print_warning(f"the server on {host} does not authenticate clients; any host that reaches it can use it.")

    def announce(url: str) -> None:
        print_message(f"Serving {bundle.name} ({bundle.sha256[:12]}) on {url}")
        if as_json:
            print_json({"url": url})

    settings = ServerSettings(bundle, runtime, max_batch, max_request_mb << 20, max_pending, spill=spill)
    serve(settings, host, port, processes, announce)
