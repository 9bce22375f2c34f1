"""Who may connect, who may call what, and what may travel in the clear."""
