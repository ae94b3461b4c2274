"""Training beside other libraries, and beside the limits of the machine: what `fastbp bench` does.

Nothing of the library needs this room. It has compiled loops of its own, for they are what is
measured: those of `machine`, and a peer's. Libraries that are compared are imported by the class
of `peers` that adapts them, when it is built.
"""
