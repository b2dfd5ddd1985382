"""The HTML pages: a folder for each group of readers, and what they share (access, the frame, languages, plots)."""
