"""The API, below ``/api/v1``."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import StreamingResponse

from otel_flyte.export import otlp_json
from otel_flyte.server.reader import STATES, Filter
from otel_flyte.server.source import Source, UnknownExecutionError


def router(source: Source) -> APIRouter:
    """Return the routes."""
    made = APIRouter()

    @made.get("/executions")
    def executions(
        *,
        project: str = "",
        domain: str = "",
        workflow: str = "",
        state: Annotated[str, Query(pattern=f"^(|{'|'.join(STATES)})$")] = "",
        text: str = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> list[dict[str, Any]]:
        """List executions, the newest first."""
        wanted = Filter(project=project, domain=domain, workflow=workflow, state=state, text=text)
        return [asdict(each) for each in source.executions(wanted, limit)]

    @made.get("/executions/{key}")
    def execution(key: str) -> dict[str, Any]:
        """Return an execution."""
        try:
            return asdict(source.execution(key))
        except UnknownExecutionError:
            raise HTTPException(404, f"no execution {key}") from None

    @made.get("/executions/{key}/recording")
    def recording(key: str) -> StreamingResponse:
        """Download an execution as a recording: a line of OTLP JSON for each request."""
        try:
            source.execution(key)
        except UnknownExecutionError:
            raise HTTPException(404, f"no execution {key}") from None
        lines = (otlp_json.line_of(request) for _, request in source.requests(key))
        headers = {"Content-Disposition": "attachment; filename=recording.jsonl"}
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)

    return made
