"""The bundled stack: collector, Tempo, Prometheus, Loki and Grafana, as containers or as processes."""
