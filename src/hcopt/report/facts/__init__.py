"""What a report says of a run, before it is laid out: verdict, what its figures mean, limit, hardware."""
