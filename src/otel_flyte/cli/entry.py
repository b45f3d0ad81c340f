"""The console script. The supervisor starts here, without the imports of the other commands."""

import sys

_HELP = ("-h", "--help")


def main() -> None:
    """Run ``otel-flyte``."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["exec"] and (len(arguments) == 1 or arguments[1] not in _HELP):
        from otel_flyte.supervisor.command import supervise

        supervise(arguments[1:])
    from otel_flyte.cli import main as cli

    cli.main()
