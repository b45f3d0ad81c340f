"""``python -m otel_flyte``: the command line, where its script is not on the path."""

from otel_flyte.cli.entry import main

if __name__ == "__main__":
    main()
