"""The command line. Commands parse, call the library once, and print."""
