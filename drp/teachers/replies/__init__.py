"""A teacher's replies, read strictly: what cannot be understood is a failure with a reason, never data.

text.py       the paper's form: every step copied out, aligned back to the source
spans.py      the cheap form: numbers of clauses and steps, and new text only
entries.py    the list of actions, common to both
alignment.py  copied text found again in its source
assembly.py   kept and changed steps put together again
division.py   long traces cut into parts that fit the teacher's output limit
formats.py    what the two forms have in common
"""
