"""The teacher that is a language model.

teacher.py     the task level: decompose and prune one trace
segmenter.py   one trace split into steps, part by part
reviser.py     the steps pruned, part by part, with checks and retries
dialogue.py    one request, its checks, and what is asked again
prompts/       the prompt texts and their placeholders
reply.py       what the two reply formats have in common, and the list of actions
text.py        the paper's format: every step is copied out, then aligned to the source
spans.py       the cheap format: numbers of clauses and steps, and new text only
alignment.py   copied text found again in its source; kept and changed steps joined
division.py    long traces cut into parts that fit the teacher's output limit
"""
