"""Remote plugin: the store of a zoo that `zoo serve` stands before."""
