"""The kernels in NumPy, written to be read: the specification that the compiled twins are tested against."""
