"""The parameters of requests: each is bounded and described."""

import re
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, TypeAlias
from urllib.parse import unquote

from fastapi import Depends, Path, Query, Request

from otel_flyte.server.problems import BadRequestError
from otel_flyte.server.store.reader import LEVELS, STATES, Filter

LONGEST_NAME, _LONGEST_KEY, _LONGEST_TOKEN = 256, 1000, 300
_LONGEST_CHOICE = 20
_MOST_CONDITIONS = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LARGEST = 2**63 - 1
_KEY = "`project:domain:name` of an execution, or `trace:` and the trace id of a local run without a name."
_TASK = "An attempt, by any of its names: `n0`, `n0@1`, `n0/3`, `n0-worker-1`, a task's name, a span's id."

Name: TypeAlias = Annotated[str, Query(max_length=LONGEST_NAME, description="Only those with exactly this one.")]
After: TypeAlias = Annotated[
    str, Query(max_length=_LONGEST_TOKEN, description="The `next` of the page before; empty for the first page.")
]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=1000, description="The largest number on a page.")]
Level: TypeAlias = Annotated[
    str,
    Query(
        max_length=_LONGEST_CHOICE,
        description="The lowest one, in any case; lines of stdout have none.",
        json_schema_extra={"enum": ["", *LEVELS]},
    ),
]
State: TypeAlias = Annotated[
    str,
    Query(
        max_length=_LONGEST_CHOICE,
        description="Only those in this one.",
        json_schema_extra={"enum": ["", *STATES]},
    ),
]
Moment: TypeAlias = Annotated[
    str,
    Query(
        max_length=40,
        description="As `2026-05-28T20:26:40Z` or `2026-05-28`; UTC where no offset is named. Empty for no limit.",
        json_schema_extra={"format": "date-time"},
    ),
]
From: TypeAlias = Annotated[
    int, Query(alias="from", ge=0, le=10**9, description="Seconds after the attempt's start; in whole minutes.")
]
To: TypeAlias = Annotated[
    int | None, Query(alias="to", ge=0, le=10**9, description="Likewise; the end of the attempt where it is missing.")
]
Step: TypeAlias = Annotated[
    int, Query(ge=60, le=366 * 86400, multiple_of=60, description="Seconds of each value; whole minutes.")
]


def _key(key: Annotated[str, Path(max_length=_LONGEST_KEY, description=_KEY)]) -> str:
    # The guard leaves encoded slashes: see there.
    return unquote(key)


def _task(task: Annotated[str, Path(max_length=_LONGEST_KEY, description=_TASK)]) -> str:
    return unquote(task)


Key: TypeAlias = Annotated[str, Depends(_key)]
QueryKey: TypeAlias = Annotated[str, Query(max_length=_LONGEST_KEY, description=_KEY)]
Task: TypeAlias = Annotated[str, Depends(_task)]


def executions_filter(
    *,
    project: Name = "",
    domain: Name = "",
    workflow: Name = "",
    state: State = "",
    text: Annotated[
        str, Query(max_length=LONGEST_NAME, description="Part of the name or the workflow, in any case.")
    ] = "",
    since: Moment = "",
    until: Moment = "",
    attribute: Annotated[
        list[str] | None,
        Query(
            max_length=_MOST_CONDITIONS,
            description="`name:value` of an attribute of any span or its process. May be repeated: all must hold.",
        ),
    ] = None,
) -> Filter:
    """Return what a list of executions contains.

    Raises:
        BadRequestError: a condition can't be used.
    """
    if state not in ("", *STATES):
        raise BadRequestError(f"state={state} is no state: choose from {', '.join(STATES)}")
    return Filter(
        project=project,
        domain=domain,
        workflow=workflow,
        state=state,
        text=text,
        since_ns=_nanoseconds("since", since),
        until_ns=_nanoseconds("until", until),
        attributes=_attributes(attribute or ()),
    )


Executions: TypeAlias = Annotated[Filter, Depends(executions_filter)]


def only_known(request: Request) -> None:
    """Refuse a parameter that a route does not have: a misspelt condition would select everything.

    Raises:
        BadRequestError: there is one.
    """
    known = _names(request.scope["route"].dependant)
    unknown = next((name for name in request.query_params if name not in known), None)
    if unknown is not None:
        choice = f"choose from {', '.join(sorted(known))}" if known else "it has none"
        raise BadRequestError(f"{unknown:.100} is not a parameter of this request: {choice}")


def severity(level: str) -> int:
    """Return the number of a level in any case, 0 for none.

    Raises:
        BadRequestError: there is no such level.
    """
    if level.upper() not in ("", *LEVELS):
        raise BadRequestError(f"level={level} is no level: choose from {', '.join(LEVELS)}")
    return LEVELS[level.upper()] if level else 0


def _names(dependant: Any) -> set[str]:
    own = {field.alias for field in dependant.query_params}
    return own.union(*map(_names, dependant.dependencies))


def _nanoseconds(name: str, text: str) -> int:
    if not text:
        return 0
    try:
        # Python 3.10 reads neither `Z` nor fractions of other lengths; a microsecond is exact enough.
        whole = f"{text}T00:00:00" if _DATE.fullmatch(text) else text
        seconds, fraction, offset = re.fullmatch(_MOMENT, whole).groups()  # type: ignore[union-attr]
        offset = "+00:00" if (offset or "Z").upper() == "Z" else offset
        moment = datetime.fromisoformat(f"{seconds}.{(fraction or '')[:6]:0<6}{offset}")
    except (AttributeError, ValueError):
        raise BadRequestError(f"{name}={text} is no time: write it as 2026-05-28T20:26:40Z") from None
    return max(1, min(_LARGEST, (moment - _EPOCH) // timedelta(microseconds=1) * 1000))


_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MOMENT = re.compile(r"(\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})?", re.ASCII)


def _attributes(given: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in given:
        name, colon, value = each.partition(":")
        if not colon or not name:
            raise BadRequestError(f"attribute={each:.100} has no name or value: write it as attribute=name:value")
        if found.setdefault(name, value) != value:
            raise BadRequestError(f"attribute {name:.100} is given with two values: give one")
    return found
