"""What a server tells of itself to those who run it, and what it looks at by itself."""
