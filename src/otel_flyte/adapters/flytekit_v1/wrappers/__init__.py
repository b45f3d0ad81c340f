"""The wrappers of flytekit's functions.

Each wrapper calls the wrapped function outside every guard, and passes its result and its exceptions on unchanged. It
costs next to nothing where nothing is recorded: none of these modules imports OpenTelemetry.
"""
