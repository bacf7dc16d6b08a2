"""From an evaluated model's samples to its scores: `outcomes` reads and counts them, `score` sums them up."""
