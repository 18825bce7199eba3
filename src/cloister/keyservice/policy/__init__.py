"""The policy: what may run, what it gets, whom it may talk to, what may come out (design D4)."""
