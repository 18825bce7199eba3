"""Several roles of one job, here, elsewhere or in federations; training that keeps promises."""
