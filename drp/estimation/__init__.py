"""What a run would take before anything is spent: `drp estimate`.

lines.py      one stage's calls, tokens, dollars and GPU-hours, and how they add up
responses.py  how many responses there will be, and how long they are
teaching.py   decompose and prune: the very requests that would be sent
machines.py   generate, train and eval: tokens over tokens a second
table.py      the table, with the assumptions beneath it
"""
