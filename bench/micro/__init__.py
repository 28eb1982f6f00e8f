"""Costs of single parts in isolation, measured against a fixed loop, so that a slower machine is not a regression."""
