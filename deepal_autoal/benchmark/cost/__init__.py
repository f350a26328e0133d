"""Estimates of what runs will cost, extrapolated from short measurements."""
