"""What a report says of a run, before it is laid out: pairings, verdict, relations, hardware."""
