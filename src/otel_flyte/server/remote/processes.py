"""The resources of an execution's processes, which the records of Loki and Prometheus name by labels only."""

from collections.abc import Iterator, Mapping
from typing import Any

from otel_flyte import semconv
from otel_flyte.recording import otlp_messages
from otel_flyte.recording.model import AttributeValue
from otel_flyte.recording.span_tree import LOCAL
from otel_flyte.server.remote import names

_MOST = 10_000
"""Resources that are kept; a process more has one made from labels."""

_OF_PROCESSES = ("service.", "k8s.", "host.", "telemetry.", "process.", "os.", "container.", "cloud.", "deployment.")

_RUN = names.label(semconv.RUN_NAME)


class Processes:
    """The resources of the spans of an execution."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Any, Mapping[str, str]]] = {}
        self._by_instance: dict[str, tuple[Any, Mapping[str, str]]] = {}

    def add(self, resource: Any) -> None:
        """Add a resource."""
        content = resource.SerializeToString(deterministic=True)
        if content in self._known or len(self._known) >= _MOST:
            return
        labels = {
            names.label(name): text(value) for name, value in otlp_messages.attributes(resource.attributes).items()
        }
        self._known[content] = resource, labels
        instance = labels.get(names.label(semconv.SERVICE_INSTANCE_ID), "")
        if instance:
            self._by_instance[instance] = resource, labels

    @property
    def unnamed(self) -> list[str]:
        """The ids of the instances of services whose resources name no execution, in order."""
        named = {instance for instance, (_, labels) in self._by_instance.items() if labels.get(_RUN, LOCAL) != LOCAL}
        return sorted(self._by_instance.keys() - named)

    def of(self, labels: Mapping[str, str], resource: Any) -> Mapping[str, str]:
        """Write the resource of a record with these labels to a message, and return the labels that are not its own."""
        found = self._by_instance.get(labels.get(names.label(semconv.SERVICE_INSTANCE_ID), "")) or next(
            (each for each in self._known.values() if _agree(each[1], labels)), None
        )
        if found is None:
            own = dict(_of_process(labels))
            for label, name in own.items():
                put(resource.attributes.add(), name, labels[label])
        else:
            resource.CopyFrom(found[0])
            own = {label: value for label, value in found[1].items() if labels.get(label) == value}
        return {label: value for label, value in labels.items() if label not in own}


def put(pair: Any, name: str, value: str) -> None:
    """Write an attribute: a number where it is known to be one, else a text."""
    pair.key = name
    if name in names.NUMBERS:
        try:
            number = float(value)
        except ValueError:
            pass
        else:
            if number.is_integer() and name != semconv.PHASE_ELAPSED:
                pair.value.int_value = int(number)
            else:
                pair.value.double_value = number
            return
    pair.value.string_value = value


def text(value: AttributeValue) -> str:
    """Return the value of an attribute as a label has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _agree(resource: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Return whether a record has all labels of a resource."""
    return bool(resource) and all(labels.get(label) == value for label, value in resource.items())


def _of_process(labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return the labels that a resource usually has, with the names of their attributes."""
    prefixes = tuple(map(names.label, _OF_PROCESSES))
    for label in labels:
        name = names.KNOWN.get(label, label)
        if name in semconv.IDENTITY or label.startswith(prefixes):
            yield label, name
