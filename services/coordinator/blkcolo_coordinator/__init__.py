"""The coordinator: decides when to checkpoint and who is who."""
