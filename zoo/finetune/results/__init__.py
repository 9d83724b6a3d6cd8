"""Results: what a run leaves: its journal, figures, pictures, card and checkpoint."""
