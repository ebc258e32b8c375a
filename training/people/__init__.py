"""People drawn from a seed and rendered: the data of a checkpoint that speaks on any face."""
