"""What is typed and what is shown: commands, options, progress."""
