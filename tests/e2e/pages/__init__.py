"""Pages in a browser, and the commands that do the same."""
