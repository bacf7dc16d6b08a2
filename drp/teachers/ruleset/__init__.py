"""What the offline teacher knows about reasoning: where clauses end, which skill they show, what may go.

protected       formulas, bold and code, which no boundary may cut
clauses         sentences and clauses with character offsets
quantities      the numbers of a text in one spelling, and which of them are results
cues            the phrases by which a student hedges, checks, turns back, concludes
kinds           what a clause does in the argument
skills          which mathematical skill it exercises
segmentation    steps that tile the thinking, by one of three methods
reading         the clauses of the steps with what they say: kind, numbers, results
closing         where the answer is reached and which clause says so
selection       which clauses stay
sufficiency     which plans and reasons a computation makes superfluous
shortening      the same sentence without its padding
fusion          two clauses as one sentence
resynthesis     edits of the steps and the shorter thinking
conclusions     the summary reduced to its final statement
"""
