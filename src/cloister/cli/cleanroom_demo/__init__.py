"""`cloister cleanroom demo`: two owners and an operator, and what each of them gets to see."""
