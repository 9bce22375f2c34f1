"""What is decided of one group, and told of it, from values alone.

Its states, when to checkpoint and when to try again, what changed, what is missing.
Everything on the coordinator may import it; it imports no other room.
"""
