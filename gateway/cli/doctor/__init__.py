"""``gateway doctor``: checks an installation, and names a remedy for each problem."""
