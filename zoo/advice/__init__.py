"""Advice: what the user's own images say, measured, before anything is trained on them."""
