"""The heads that come with zoo, each a plugin like anybody's, and what they have in common."""
