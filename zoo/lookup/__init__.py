"""What is known of a name: details and lineage. Answers without torch."""
