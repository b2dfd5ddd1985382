"""The decisions of the path, one stage a file, each a pure function or a small class of them."""
