"""What clients of the model hub ask for."""
