"""Who asks: accounts, tokens, and what each may do."""
