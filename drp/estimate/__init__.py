"""What a run will take, before anything is spent: `drp estimate` (`drp.stages.estimate`).

traces.py      how many traces of which length the teacher gets, by source: sampled ones and those still expected
teaching.py    decompose and prune: the requests that they would send to the teacher
machines.py    generate, train and eval: tokens, divided by tokens per second
published.py   lengths and speeds that others have measured, each with its source
table.py       the estimate of one stage, the total, and the printed table
"""
