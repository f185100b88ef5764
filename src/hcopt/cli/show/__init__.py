"""Answers as the terminal shows them."""
