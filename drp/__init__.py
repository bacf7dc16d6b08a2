"""Distilled Reasoning Pruning: make a reasoning model think shorter without getting dumber (arXiv 2505.13975)."""

__version__ = "0.1.0"
