"""The offline teacher: a deterministic set of rules over the prose of a trace.

teacher.py        the task level: decompose and prune one trace
segmentation.py   steps that tile the thinking, by one of three methods, each with its skill
reading.py        the clauses of the steps with what they say: kind, numbers, results
selection.py      which clauses stay
rewriting.py      the remaining clauses shortened, joined and resynthesised
"""
