"""Shared code of tests, such as an OTLP receiver, and pods that run without a cluster."""
