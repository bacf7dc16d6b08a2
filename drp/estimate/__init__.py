"""What a run will take before anything is spent: `drp estimate`.

table.py      one stage's calls, tokens, dollars and GPU-hours, how they add up, and the printed table
teaching.py   decompose and prune: the requests that would be sent
machines.py   generate, train and eval: tokens over tokens a second
"""
