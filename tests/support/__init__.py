"""What several tests share: an OTLP receiver, and pods that run without a cluster."""
