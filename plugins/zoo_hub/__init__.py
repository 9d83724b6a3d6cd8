"""Source plugin: repositories of the HF Hub, or of a server that speaks its protocol."""
