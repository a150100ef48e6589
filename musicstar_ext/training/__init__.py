"""Training: the loop, its checkpoints, its log and its options, the same for every method."""
