"""The service and the command line: HTTP in front of the fold, and the processes behind it."""
