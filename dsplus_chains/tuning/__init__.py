"""Chosen from data: operating points (`threshold.tune_threshold`), and how to ask (`hints.tune_hints`)."""
