"""Tasks end as they would without otel-flyte: the same exit code, output and files in the bucket."""
