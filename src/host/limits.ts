/** Bounds of the host and its clients: every queue, wait and table has one, with a name. */

/** Bytes of a message's body before it travels in a memfd instead of the socket. */
export const INLINE_BODY_MAX = 65_536
/** Bytes of any body: the largest call is MAP_GRANT_REF of 65536 grants, or a long GRANT_COPY. */
export const BODY_MAX = 16_777_216
/** A host that does not answer a call for this long is an error, not a frozen program. */
export const CALL_TIMEOUT_MS = 10_000
/** Pages of the first chunk for a peer; each further one has twice as many. */
export const FIRST_CHUNK_PAGES = 16
/** Up to so many: 2 MiB, so that some 200 chunks hold 100,000 grants. */
export const CHUNK_PAGES = 512
/** State words of an inbox: two of its own, and one for each port that it can serve. */
export const LINK_SLOTS = 131072
/** Reads of 4 KiB that take in an inbox: a pipe as large as the host made it is empty then. */
export const INBOX_READS_MAX = 16
/** Ranges of user memory that one call may send along. */
export const SNAPSHOT_RANGES_MAX = 65_536
/** Chunks without a mapping whose descriptor a client keeps for the next map. */
export const IDLE_CHUNKS_MAX = 8
/** Bytes of a Unix socket's path, without its terminating zero (man 7 unix). */
export const SOCKET_PATH_MAX = 107
/** Events that one turn of the host's loop takes from the kernel. */
export const LOOP_EVENTS_MAX = 64
/** Calls of a client in its outbox; the next waits until the host has taken them. */
export const QUEUED_CALLS_MAX = 64
/** Bytes of an outbox: a few calls of QUEUED_PAGES_MAX, or QUEUED_CALLS_MAX ordinary ones. */
export const OUTBOX_BYTES = 32_768
/** Outboxes that the host looks into before each call, at a word's cost each; others ask always. */
export const OUTBOXES_MAX = 64
/** Pages of a map that is booked without asking: as many as lie in a chunk. */
export const QUEUED_PAGES_MAX = 512
/** Chunks without a page in use that wait for their granter's next grant. */
export const EMPTY_CHUNKS_MAX = 8
/** Dropped clients of which one second's log tells; the others are counted. */
export const LOG_LINES_PER_SECOND = 10
/**
 * Maps, their pages, and mappings that must be left to a domain for its clients to queue calls: as
 * many as one of them can have under way. What they have when the page of limits tells them to ask
 * instead still holds.
 */
export const QUEUE_ROOM_MIN: number = QUEUED_CALLS_MAX * QUEUED_PAGES_MAX
/** Times that a domain of first use may leave just as a client of it comes. */
export const GREETING_TRIES = 16
/** Clients of a domain that may wait for the host to look at them. */
export const LISTEN_BACKLOG = 128
/** Segments of a GRANT_COPY that are copied before others are served: a millisecond of work. */
export const COPY_SLICE = 128
/** Stores that such a copy made, and is told of: no more work than that. */
export const WRITES_SLICE = 4096
/** How long a socket is left alone at which the host has no descriptor even to say no. */
export const ACCEPT_PAUSE_MS = 100
/** Domains at a time: each holds a socket and a page. */
export const DOMAINS_MAX = 1024
/** Connections for orders at a time. */
export const ADMINISTRATORS_MAX = 8
/** Descriptors of a client at the host: its socket and its lifeline. */
export const SESSION_DESCRIPTORS = 2
/** Descriptors of a domain at the host: its socket and its page of limits. */
export const DOMAIN_DESCRIPTORS = 2
/**
 * Descriptors that no domain gets: orders, the ends that are handed over with an answer, one to
 * turn away with.
 */
export const DESCRIPTORS_RESERVE = 24
/** Descriptors for all domains: each may be a kernel mapping, of which there can be 65,530. */
export const DESCRIPTORS_MAX = 49_152
/** Grants, mappings and ports of a domain that an inspection lists; it counts them all. */
export const INSPECTED_MAX = 10_000
