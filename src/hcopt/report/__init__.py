"""A finished run becomes a report. Reads nothing but the RunRecord; prints nothing."""
