"""Plans a sweep, ranks its measurements, and judges the confirmation. Pure: no process, service or file."""
