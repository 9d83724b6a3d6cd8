"""Native: the store's own keys, for zoo's own client."""
