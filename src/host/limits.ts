/** Bounds of the host and its clients: every queue, wait and table has one, with a name. */

/** Bytes of a message's body before it travels in a memfd instead of the socket. */
export const INLINE_BODY_MAX = 65_536
/** Bytes of any body: the largest call is MAP_GRANT_REF of 65536 grants, or a long GRANT_COPY. */
export const BODY_MAX = 16_777_216
/** A host that does not answer a call for this long is an error, not a frozen program. */
export const CALL_TIMEOUT_MS = 10_000
/** Pages of a chunk: 2 MiB, so that 196 chunks hold 100,000 grants. */
export const CHUNK_PAGES = 512
/** Ports that one inbox can serve; slot 0 of its state words is the "look at all" flag. */
export const LINK_SLOTS = 131072
/** Ranges of user memory that one call may send along. */
export const SNAPSHOT_RANGES_MAX = 65_536
/** Chunks without a mapping whose descriptor a client keeps for the next map. */
export const IDLE_CHUNKS_MAX = 8
/** Bytes of a Unix socket's path, without its terminating zero (man 7 unix). */
export const SOCKET_PATH_MAX = 107
/** Events that one turn of the host's loop takes from the kernel. */
export const LOOP_EVENTS_MAX = 64
/** Calls that may wait at a client for the next one; then they are sent by themselves. */
export const QUEUED_CALLS_MAX = 64
/** Chunks without a page in use that wait for their granter's next grant. */
export const EMPTY_CHUNKS_MAX = 8
/** Dropped clients of which one second's log tells; the others are counted. */
export const LOG_LINES_PER_SECOND = 10
/** Connections of one domain: each holds two descriptors of the host. */
export const SESSIONS_PER_DOMAIN_MAX = 1024
/** Grants, mappings and ports of a domain that an inspection lists; it counts them all. */
export const INSPECTED_MAX = 10_000
