"""Telemetry with misbehaving collectors and with processes that end badly: by the stock SDK, and by ours."""
