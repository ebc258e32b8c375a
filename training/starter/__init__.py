"""Training of a checkpoint that speaks on faces that it never saw, over several short runs."""
