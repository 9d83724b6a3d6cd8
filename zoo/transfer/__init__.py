"""Push and pull between stores."""
