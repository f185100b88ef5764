"""A run on disk: its folder, measurements and decisions, and what an interrupted one has left."""
