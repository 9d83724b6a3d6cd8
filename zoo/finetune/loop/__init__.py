"""The loop: train, evaluate, keep the best, save the state."""
