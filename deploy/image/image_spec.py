"""A workflow whose image is built by `ImageSpec`: the only change is one more package.

``pyflyte run --remote --project flytesnacks --domain development image_spec.py pipeline`` builds and pushes the image,
then runs the workflow. The cluster sets the endpoint for telemetry, see ``../helm``.
"""

from flytekit import ImageSpec, Resources, task, workflow

image = ImageSpec(
    name="pipeline",
    # The registry that you push to and the cluster pulls from.
    registry="ghcr.io/example",
    packages=["otel-flyte"],
    # To record killed tasks: entrypoint=["otel-flyte", "exec", "--"].
)


@task(container_image=image, requests=Resources(cpu="500m", mem="512Mi"), limits=Resources(cpu="1", mem="1Gi"))
def count(n: int) -> int:
    """Do some work that is visible in a trace."""
    return sum(range(n))


@workflow
def pipeline(n: int = 1_000_000) -> int:
    """Run it once."""
    return count(n=n)
