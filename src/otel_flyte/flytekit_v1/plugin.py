"""The ``flytekit.plugins`` entry point: flytekit imports this module at the end of ``import flytekit``.

flytekit guards the import of its plugins by nothing, so an exception here would kill every task before it can say why.
"""

from contextlib import suppress

try:
    from otel_flyte import activation

    activation.activate()
except Exception as error:
    with suppress(Exception):
        from otel_flyte.guard import report

        report("activation", error)
