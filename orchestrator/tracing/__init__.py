"""Traces from upload to frame, as OpenTelemetry's; nothing of that is imported unless an endpoint is set."""
