"""The command line: options, what is checked before anything is measured, the runs."""
