"""Models in parts: how they are cut, what a cut leaks, and packages of cut models."""
