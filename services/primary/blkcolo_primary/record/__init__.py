"""What the primary remembers of a group: its generation, a fence, the last verify.

Everything on the primary may import it; it imports no other room.
"""
