# Gathering: rows of the data into a batch, cast on the way. Included by program.pyx.

cdef enum:
    LEAST_GATHERED = 16384   # bytes of a batch below which waking another thread costs more than it saves

ctypedef fused source_t:
    uint8_t
    int8_t
    uint16_t
    int16_t
    uint32_t
    int32_t
    uint64_t
    int64_t
    float
    double

ctypedef fused batch_t:
    float
    double

ctypedef void (*gather_t)(const void*, const int64_t*, int64_t, int64_t, void*) noexcept nogil


cdef void gather_same(const void* source, const int64_t* index, int64_t n, int64_t row, void* batch) noexcept nogil:
    """Copy n rows of ``row`` bytes."""
    cdef int64_t i
    for i in range(n):
        memcpy(<char*>batch + i * row, <const char*>source + index[i] * row, row)


cdef void gather_cast(const source_t* source, const int64_t* index, int64_t n, int64_t row,
                      batch_t* batch) noexcept nogil:
    """Cast n rows of ``row`` elements."""
    cdef int64_t i, j
    cdef const source_t* s
    for i in range(n):
        s = source + index[i] * row
        for j in range(row):
            batch[i * row + j] = <batch_t>s[j]


cdef gather_t find_gather(str source, batch_t* _) except NULL:
    """Choose the loop for a NumPy type by kind and size, as ``u1``."""
    if source == "u1" or source == "b1":
        return <gather_t><void*>gather_cast[uint8_t, batch_t]
    if source == "i1":
        return <gather_t><void*>gather_cast[int8_t, batch_t]
    if source == "u2":
        return <gather_t><void*>gather_cast[uint16_t, batch_t]
    if source == "i2":
        return <gather_t><void*>gather_cast[int16_t, batch_t]
    if source == "u4":
        return <gather_t><void*>gather_cast[uint32_t, batch_t]
    if source == "i4":
        return <gather_t><void*>gather_cast[int32_t, batch_t]
    if source == "u8":
        return <gather_t><void*>gather_cast[uint64_t, batch_t]
    if source == "i8":
        return <gather_t><void*>gather_cast[int64_t, batch_t]
    if source == "f4":
        return <gather_t><void*>gather_cast[float, batch_t]
    if source == "f8":
        return <gather_t><void*>gather_cast[double, batch_t]
    raise TypeError(f"gather: expected real numbers of at most 8 bytes, got NumPy type {source!r}.")


cdef struct feed_t:
    gather_t function
    const void* source
    void* batch
    int64_t row      # bytes, or elements where they are cast
    int64_t stride   # bytes of a row in the batch


cdef int fill_feeds(list gathers, feed_t* feeds) except -1:
    cdef cnp.ndarray source, batch
    cdef int k
    cdef float* f = NULL
    cdef double* d = NULL
    if len(gathers) > MAX_FEEDS:
        raise ValueError(f"gather: expected at most {MAX_FEEDS} arrays, got {len(gathers)}.")
    for k in range(len(gathers)):
        source, batch = gathers[k]
        feeds[k].source = cnp.PyArray_DATA(source)
        feeds[k].batch = cnp.PyArray_DATA(batch)
        feeds[k].row = batch.size // batch.shape[0]
        feeds[k].stride = feeds[k].row * batch.itemsize
        kind = source.dtype.str[1:]
        if kind == batch.dtype.str[1:]:
            feeds[k].function = gather_same
            feeds[k].row = feeds[k].stride
        elif batch.itemsize == 8:
            feeds[k].function = find_gather(kind, d)
        else:
            feeds[k].function = find_gather(kind, f)
    return 0


cdef struct batch_feeds_t:   # what a batch is gathered from
    feed_t feeds[MAX_FEEDS]
    int n_feeds
    int parts                # of the batch, each gathered by the thread that works on it afterwards
    int64_t size
    const int64_t* index     # rows of the batch at hand


cdef int fill_batch(batch_feeds_t* b, list gathers, int64_t size, int parts) except -1:
    cdef int k
    cdef int64_t bytes = 0
    fill_feeds(gathers, b.feeds)
    b.n_feeds, b.size = len(gathers), size
    for k in range(b.n_feeds):
        bytes += size * b.feeds[k].stride
    b.parts = parts if bytes >= LEAST_GATHERED else 1
    return 0


cdef void gather_part(void* context, int part) noexcept nogil:
    cdef batch_feeds_t* b = <batch_feeds_t*>context
    cdef int64_t first = b.size * part // b.parts, last = b.size * (part + 1) // b.parts
    cdef feed_t* feed
    cdef int k
    for k in range(b.n_feeds):
        feed = &b.feeds[k]
        feed.function(feed.source, b.index + first, last - first, feed.row, <char*>feed.batch + first * feed.stride)


cdef inline void gather(batch_feeds_t* b, const int64_t* index) noexcept nogil:
    """Gather a batch of the rows in ``index``."""
    b.index = index
    if b.parts > 1:
        fastnn_parallel(gather_part, b, b.parts)
    else:
        gather_part(b, 0)
