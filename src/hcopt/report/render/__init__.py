"""A report as PDF and HTML, in processes of their own."""
