"""For plugin authors: conformance suites to subclass, and proofs."""
