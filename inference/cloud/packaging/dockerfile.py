"""The Dockerfiles of packages. The folder `task` has everything but the base image, so a build downloads only that."""

from hybrid_batch.inference.model.bundle import Bundle

TASK = "task"

_LAMBDA = """\
# The tails of {name} ({sha256}) for AWS Lambda. Handlers:
# hybrid_batch.inference.cloud.function.handler.handle for requests,
# hybrid_batch.inference.cloud.function.authorizer.authorize for tokens.
# A digest fixes the content of the base: docker build --build-arg BASE=public.ecr.aws/lambda/python@sha256:…
ARG BASE=public.ecr.aws/lambda/python:{python}
FROM --platform={platform} ${{BASE}}
COPY {task}/ ${{LAMBDA_TASK_ROOT}}/
CMD ["hybrid_batch.inference.cloud.function.handler.handle"]
"""
_SERVER = """\
# The tails of {name} ({sha256}) over HTTP:   docker run -p 127.0.0.1:8000:8000 IMAGE
# Any client that reaches the published port may use it; for others than this machine give CMD with --token-file.
# As a worker of a queue:   docker run IMAGE python -m hybrid_batch worker /app/bundle --queue NAME
# Other commands (run, cuts, profile, plan):   docker run IMAGE python -m hybrid_batch --help
# A digest fixes the content of the base: docker build --build-arg BASE=python@sha256:…
ARG BASE=python:{python}-slim
FROM --platform={platform} ${{BASE}}
COPY {task}/ /app/
WORKDIR /app
ENV HYBRID_BATCH_BUNDLE=/app/bundle HYBRID_BATCH_CACHE=/tmp/hybrid-batch PYTHONUNBUFFERED=1
USER nobody
EXPOSE 8000
CMD ["python", "-m", "hybrid_batch", "serve", "/app/bundle", "--host", "0.0.0.0", "--port", "8000", "--insecure"]
"""
_PLATFORMS = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}
_TEMPLATES = {"lambda-image": _LAMBDA, "container": _SERVER}


def dockerfile(target: str, bundle: Bundle, architecture: str, python: str) -> str:
    """The text of a target's Dockerfile."""
    return _TEMPLATES[target].format(
        name=bundle.name, sha256=bundle.sha256[:12], platform=_PLATFORMS[architecture], python=python, task=TASK
    )
