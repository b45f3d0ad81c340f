"""The ``flytekit.plugins`` entry point: flytekit imports this module at the end of ``import flytekit``.

flytekit imports its plugins without a guard. An exception here would end every task before it can report why.
"""

from contextlib import suppress

try:
    from otel_flyte import activation, child_process

    activation.activate()
    child_process.begin()
except Exception as error:
    with suppress(Exception):
        from otel_flyte.runtime.guard import report

        report("activation", error)
