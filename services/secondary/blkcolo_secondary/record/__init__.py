"""What the secondary remembers of a group: its journal, and the checkpoints it keeps.

Everything above may import it; it imports no other room.
"""
