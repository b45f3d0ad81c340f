"""A workflow whose image is made by `ImageSpec`: one package more is the whole change.

``pyflyte run --remote --project flytesnacks --domain development image_spec.py pipeline`` builds and pushes the image,
then runs the workflow. Where telemetry goes is told by the cluster, see ``../helm``.
"""

from flytekit import ImageSpec, Resources, task, workflow

image = ImageSpec(
    name="pipeline",
    # Where you push to, and the cluster pulls from.
    registry="ghcr.io/example",
    packages=["otel-flyte"],
    # To have tasks that are killed told of: entrypoint=["otel-flyte", "exec", "--"].
)


@task(container_image=image, requests=Resources(cpu="500m", mem="512Mi"), limits=Resources(cpu="1", mem="1Gi"))
def count(n: int) -> int:
    """Do something that can be seen in a trace."""
    return sum(range(n))


@workflow
def pipeline(n: int = 1_000_000) -> int:
    """Run it once."""
    return count(n=n)
