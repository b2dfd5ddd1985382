"""``gateway template``: commands on a folder of templates, and on a running gateway's versions."""
