"""What does not add up: rules over what the ledger says, each a small function with dated limits (domain section 0)."""
