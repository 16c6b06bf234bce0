"""Confidence that means what it says: calibrators, metrics, intervals and risk bounds, as pure functions on arrays.

Modules: `calibrators` (temperature, vector scaling, isotonic), `metrics` (calibration error, risk and coverage),
`intervals` (for shares and for paired differences), `risk` (Learn-then-Test).
"""
