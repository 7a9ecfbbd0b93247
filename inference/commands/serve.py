"""`hybrid-batch serve`: the tails of a model for others to use."""

import click


@click.command("serve", short_help="Serve a model's tails over HTTP.")
@click.argument("model", default="digits")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: the system chooses.")
@click.option("--engine", type=click.Choice(["openvino", "tensorflow"]), default="openvino", show_default=True)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes, on one port.")
@click.option("--max-batch", type=click.IntRange(1), default=64, show_default=True, help="Images in one engine call.")
@click.option(
    "--max-request-mb", type=click.IntRange(1, 1024), default=64, show_default=True, help="Largest request, in MiB."
)
@click.option("--queue", type=click.IntRange(1), default=128, show_default=True, help="Requests let in at once.")
@click.option("--spill", metavar="s3://…", help="Where requests lie that are too large for this server.")
@click.option("--json", "as_json", is_flag=True, help='Print {"url": …} on stdout once ready.')
def command(
    model: str,
    *,
    host: str,
    port: int,
    engine: str,
    workers: int,
    max_batch: int,
    max_request_mb: int,
    queue: int,
    spill: str | None,
    as_json: bool,
) -> None:
    """Serve the tails of MODEL over HTTP, by the Open Inference Protocol v2.

    Every cut is a version of the model, c000 the whole of it. Requests for the same cut that arrive while the
    engine is busy are computed together. There is no authentication: keep it on 127.0.0.1, or behind something
    that has it. SIGTERM and Ctrl-C finish the requests in flight.

    \b
    Example:
      hybrid-batch serve digits --port 8000
      hybrid-batch run ./images --split auto --tail http://127.0.0.1:8000
    """
    import json

    from hybrid_batch.inference.model.importing.resolve_model import open_model
    from hybrid_batch.inference.serving.http.launch import serve
    from hybrid_batch.inference.serving.http.service import ServiceSettings

    bundle = open_model(model, lambda line: click.echo(line, err=True))
    if host not in ("127.0.0.1", "localhost", "::1"):
        click.echo(f"Warning: whoever reaches {host} can use this server; it asks for no password.", err=True)

    def announce(url: str) -> None:
        click.echo(f"Serving {bundle.name} ({bundle.sha256[:12]}) on {url}", err=True)
        if as_json:
            click.echo(json.dumps({"url": url}))

    settings = ServiceSettings(bundle, engine, max_batch, max_request_mb << 20, queue, spill=spill)
    serve(settings, host, port, workers, announce)
