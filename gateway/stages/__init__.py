"""The decisions of the path: one stage a file, each a pure function or a small class of them.

Must import no technology and no storage: what a stage has to read or call is given to it as a function.
"""
