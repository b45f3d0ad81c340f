"""A user's program that launches executions: ``traced_launch_program.py [traced] NAME…``."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import json
import sys

import traced_launches
from opentelemetry import trace

NO_ENVS: dict[str, str] = {}
LAUNCHES = {
    "task": (traced_launches.double, None),
    "workflow": (traced_launches.doubled, None),
    "launch plan": (traced_launches.doubled_plan, None),
    "reference": (traced_launches.double_by_reference, None),
    "empty envs": (traced_launches.double, NO_ENVS),
    "own envs": (traced_launches.double, {"MODE": "fast"}),
    "own launcher": (traced_launches.double, {"OTEL_FLYTE_LAUNCHED_BY": "mine"}),
}


def main(names: list[str]) -> None:
    if names[0] == "traced":
        set_own_provider()
    given = [LAUNCHES[name] for name in names if name in LAUNCHES]
    with trace.get_tracer("users.own").start_as_current_span("request"):
        for entity, envs in given:
            traced_launches.launch_entity(entity, 3, envs)
        if "refused" in names:
            launch_in_vain()
    print(json.dumps({"provider": type(trace.get_tracer_provider()).__name__, "own envs": NO_ENVS}))  # noqa: T201


def launch_in_vain() -> None:
    try:
        traced_launches.launch_entity(traced_launches.double, "three")
    except Exception:
        return
    raise AssertionError("a text was taken for a number")


def set_own_provider() -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


if __name__ == "__main__":
    main(sys.argv[1:])
