"""The routes of ModelArts, for programs that read usage from it: executions are its jobs, attempts its tasks.

https://support.huaweicloud.com/intl/en-us/api-modelarts/ShowTrainingJobMetrics.html
"""

from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import JSONResponse

from otel_flyte.recording.attempts import selectors
from otel_flyte.report import metrics
from otel_flyte.server.api import parameters, series
from otel_flyte.server.api.analyses import Analyses
from otel_flyte.server.problems import BadRequestError
from otel_flyte.server.source import Source
from otel_flyte.server.store import reader
from otel_flyte.server.store.reader import Filter, Listed

_PHASES = {
    reader.RUNNING: "Running",
    reader.SUCCEEDED: "Completed",
    reader.FAILED: "Failed",
    reader.CANCELLED: "Terminated",
    reader.UNKNOWN: "Abnormal",
}
_LONGEST = 600


@dataclass
class ModelArtsProblem:
    """Why there is no answer."""

    error_code: str
    error_msg: str


@dataclass
class Metric:
    """A value a minute in percent, -1 where there is none."""

    metric: str
    value: list[float]


@dataclass
class Metrics:
    """`cpuUsage`, `memUsage`, `gpuUtil`, `gpuMemUsage`, `npuUtil` and `npuMemUsage`, all equally long."""

    metrics: list[Metric]


@dataclass
class Metadata:
    """What names a job; `create_time` in milliseconds since the epoch, `description` its workflow."""

    id: str
    name: str
    description: str
    create_time: int


@dataclass
class Status:
    """The status of a job; times in milliseconds. In a list `tasks` is `null`."""

    phase: str
    secondary_phase: str
    start_time: int
    duration: int
    tasks: list[str] | None


@dataclass
class Job:
    """An execution as a job."""

    kind: str
    metadata: Metadata
    status: Status


@dataclass
class Jobs:
    """A page of jobs, the newest first; `total` and `count` are those of the project."""

    total: int
    count: int
    limit: int
    offset: int
    sort_by: str
    order: str
    items: list[Job]


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ModelArtsProblem, "description": "The request can't be answered."},
    502: {"model": ModelArtsProblem, "description": "A backend does not answer as it should."},
    503: {"model": ModelArtsProblem, "description": "The server can't answer now."},
}


def _project(
    project_id: Annotated[
        str, Path(max_length=_LONGEST, description="`project:domain`, or the project alone in the default domain.")
    ],
) -> str:
    return unquote(project_id)


def _job(training_job_id: Annotated[str, Path(max_length=_LONGEST, description="The name of an execution.")]) -> str:
    return unquote(training_job_id)


def _task(
    task_id: Annotated[str, Path(max_length=_LONGEST, description="`NODE[/INDEX][@ATTEMPT][-WORKER]`, such as `n0`.")],
) -> str:
    return unquote(task_id)


_ProjectId: TypeAlias = Annotated[str, Depends(_project)]
_JobId: TypeAlias = Annotated[str, Depends(_job)]
_TaskId: TypeAlias = Annotated[str, Depends(_task)]


def router(source: Source, analyses: Analyses, default_domain: str) -> APIRouter:
    """Return the routes; ``default_domain`` is that of a project without one."""
    made = APIRouter(responses=_PROBLEMS, tags=["ModelArts"], dependencies=[Depends(parameters.only_known)])

    def key_of(project_id: str, job_id: str) -> str:
        return f"{':'.join(_parts(project_id, default_domain))}:{job_id}"

    @made.get("/{project_id}/training-jobs")
    def jobs(
        project_id: _ProjectId,
        limit: Annotated[int, Query(ge=1, le=50, description="The largest number of jobs.")] = 10,
        offset: Annotated[int, Query(ge=0, le=10**6, description="The number of newer jobs to leave out.")] = 0,
    ) -> Jobs:
        """List jobs, the newest first."""
        project, domain = _parts(project_id, default_domain)
        wanted = Filter(project=project, domain=domain)
        total = source.count(wanted)
        items = [_as_job(listed, None) for listed in source.executions(wanted, limit, offset)]
        return Jobs(
            total=total,
            count=total,
            limit=limit,
            offset=offset,
            sort_by="create_time",
            order="desc",
            items=items,
        )

    @made.get("/{project_id}/training-jobs/{training_job_id}")
    def job(project_id: _ProjectId, training_job_id: _JobId) -> Job:
        """Return a job, with its tasks."""
        key = key_of(project_id, training_job_id)
        return _as_job(source.execution(key), selectors(analyses.of(key).attempts))

    @made.get("/{project_id}/training-jobs/{training_job_id}/metrics/{task_id:path}", response_model=Metrics)
    def metrics_of(
        *,
        project_id: _ProjectId,
        training_job_id: _JobId,
        task_id: _TaskId,
        begin: parameters.From = 0,
        end: parameters.To = None,
        step: parameters.Step = 60,
    ) -> JSONResponse:
        """Return the six metrics of a task, with one value a minute from its start."""
        attempt = series.chosen(analyses.of(key_of(project_id, training_job_id)).attempts, task_id)
        window = series.window(attempt, begin, end, step)
        return JSONResponse({"metrics": metrics.as_lists(lambda name: window.of(attempt, name))})

    return made


def _parts(project_id: str, default_domain: str) -> tuple[str, str]:
    project, colon, domain = project_id.partition(":")
    if not project or (colon and not domain):
        raise BadRequestError("the project is empty: write it as project:domain, or as the project alone")
    return project, domain if colon else default_domain


def _as_job(listed: Listed, tasks: list[str] | None) -> Job:
    phase = _PHASES[listed.state]
    start = listed.start_ns // 10**6
    return Job(
        kind="job",
        metadata=Metadata(id=listed.name, name=listed.name, description=listed.workflow, create_time=start),
        status=Status(
            phase=phase,
            secondary_phase=phase,
            start_time=start,
            duration=max(0, listed.end_ns // 10**6 - start),
            tasks=tasks,
        ),
    )
