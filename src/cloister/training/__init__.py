"""Training: several roles of one job on one machine."""
