"""Set-up: a recipe, its base and its data become a network, a loss and an optimizer."""
