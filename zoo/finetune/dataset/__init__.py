"""Data to fine-tune on: where it is, what it says, how it is split, and how it becomes batches."""
