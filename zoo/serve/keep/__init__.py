"""What is served: files of checkpoints, and the commits that names went through."""
