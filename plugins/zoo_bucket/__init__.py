"""Remote plugin: a store in a bucket of S3, Google Cloud Storage or Azure, or of what speaks so."""
