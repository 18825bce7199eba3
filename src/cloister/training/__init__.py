"""Training by several, or with promises to those whose data it is."""
