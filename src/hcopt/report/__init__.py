"""The report on a finished run. Reads nothing but the RunRecord; prints nothing."""
