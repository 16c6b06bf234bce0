"""Operating points chosen from data: `threshold.tune_threshold` and the `TunedThreshold` it returns."""
