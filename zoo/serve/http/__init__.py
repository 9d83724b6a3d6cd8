"""HTTP: requests, answers, files in pieces, errors."""
