"""Stands in for the package, so that flytekit's plugin loader finds nothing to do."""
