"""The sections of a report and the pages that they make."""
