"""Reading of what comes from outside within bounds of size, time and depth. Must not know what is read."""
