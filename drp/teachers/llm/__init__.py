"""The teacher that is a language model.

teacher.py     decompose and prune one trace; the requests that an estimate plans
segmenter.py   one trace split into steps, part by part
reviser.py     the steps of one trace pruned, part by part, each part checked
dialogue.py    one request and its re-asks
prompts/       the prompt texts and their placeholders
reply.py       what the two reply formats have in common, and the list of actions
text.py        the paper's format: every step is copied out
spans.py       the cheap format: numbers of clauses and steps, and new text only
alignment.py   copied text found again in its source
division.py    token estimates; long traces divided into parts that fit the output limit
"""
