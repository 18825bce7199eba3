"""Data files of the demonstration: the training script, which imports nothing of ours."""
