"""Between checkpoints and foreign files: import, export, and pulling from sources."""
