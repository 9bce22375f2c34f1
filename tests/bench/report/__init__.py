"""What was found, and how it is shown: JSON, tables, plots, the page of the docs."""
