"""From an evaluated model's samples to its scores: `outcomes` reads and counts them, `score` sums them up."""

from drp.scores.score import Score, Summary, summarize, write_summary

__all__ = ["Score", "Summary", "summarize", "write_summary"]
