"""`cloister demo`: the whole story on this machine, with the operator's view and attacks."""
