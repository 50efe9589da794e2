"""Extensions built from ``src_cython/``; the twins of :mod:`fastnn._reference`."""
