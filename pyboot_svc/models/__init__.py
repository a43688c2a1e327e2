"""Models that come with pyboot: `telemetry`, `alarm` and `anomaly`, for use in `edge_mode`."""
