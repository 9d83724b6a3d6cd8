"""Advice: what a user's images are, and what a network knows of them, measured before training."""
