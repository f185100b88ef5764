"""Windows on a running server: noise, sweep, confirmation, capacity, and the programs that measure them."""
