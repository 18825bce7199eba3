"""Several roles of one job, here, elsewhere or in a federation; and training that keeps promises."""
