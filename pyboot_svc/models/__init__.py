"""Models that come with pyboot, for use in `edge_mode`: telemetry, alarm, anomaly, samples."""
