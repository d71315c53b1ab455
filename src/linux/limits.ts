/**
 * Calls of mmap(2) in all while the driver answers EAGAIN, one per millisecond: the granting
 * domain has paged the page out. The kernel itself waits up to 32 s for it (2.3 of the fact sheet);
 * libxengnttab repeats without an end.
 */
export const MMAP_TRIES = 1000
export const MMAP_RETRY_MS = 1

/** How long a domain's own id may take to come from the xenstore: it is one request, one reply. */
export const XENSTORE_REPLY_MS = 5000

/** Bytes of a xenstore payload. Source: Xen public/io/xs_wire.h, XENSTORE_PAYLOAD_MAX. */
export const XENSTORE_PAYLOAD_MAX = 4096
