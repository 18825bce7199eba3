"""confinement."""
