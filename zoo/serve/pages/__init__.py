"""Pages: what a zoo tells people in a browser. Each has a twin in JSON."""
