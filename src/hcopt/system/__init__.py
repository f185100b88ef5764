"""Files, processes, clocks and the machine."""
