"""Features: cached activations at a cut, and loaders that give images or these."""
