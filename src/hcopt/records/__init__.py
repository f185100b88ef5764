"""The values that travel between the packages: frozen, checked when made, readable as JSON."""
