"""What a run will take, before anything is spent: `drp estimate` (`drp.stages.estimate`).

teaching.py   decompose and prune: the requests that they would send to the teacher
machines.py   generate, train and eval: tokens, divided by tokens per second
table.py      the estimate of one stage, the total, and the printed table
"""
