"""From recipe to run to checkpoint."""
