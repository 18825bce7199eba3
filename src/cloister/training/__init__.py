"""Several roles together: on one machine, on many, in a federation."""
