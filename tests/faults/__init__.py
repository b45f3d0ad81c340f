"""What becomes of telemetry when collectors misbehave and processes end badly: with the stock SDK, and with ours."""
