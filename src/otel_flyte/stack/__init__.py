"""The bundled stack: collector, Tempo, Prometheus, Loki and Grafana, by compose or natively."""
