"""Measurements, beside the bare call, in one interleaved run."""
