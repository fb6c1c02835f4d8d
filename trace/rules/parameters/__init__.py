"""Limits, bounds and bans as dated rows (`*.yaml`), each with its source and how certain it is."""
