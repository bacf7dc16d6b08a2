"""From the samples of an evaluated model to its scores, and from a judge's verdicts to a win rate."""
