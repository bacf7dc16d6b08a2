"""Chat clients: the wire between a teacher's prompts and a provider."""
