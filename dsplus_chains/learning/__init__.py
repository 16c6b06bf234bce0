"""Learning from experience."""
