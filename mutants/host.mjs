const chunks = 'src/host/chunk-store.ts'
const links = 'src/host/links.ts'
const inboxBits = 'src/host/shared-port-bits.ts'
const mirror = 'src/host/grant-mirror.ts'
const device = 'src/host/host-device.ts'
const session = 'src/host/session.ts'
const memory = 'src/host/host-memory.ts'
const gather = 'src/host/gather.ts'
const snapshot = 'src/host/snapshot.ts'
const events = 'src/host/event-client.ts'
const cache = 'src/host/chunk-cache.ts'

/** Where a host differs from a world: memory, events, what travels, and what is foreseen. */
export const host = [
  {
    name: 'host-page-not-wiped',
    bug: 'a page that is handed out again still has what was in it',
    file: chunks,
    edits: [['if (first < used || chunk.isShared) wipe(chunk, first, count)', '']],
  },
  {
    name: 'host-byte-in-the-wrong-page',
    bug: 'the byte is cleared in the first page of the chunk',
    file: chunks,
    edits: [
      [
        'chunk.memfd.bytes[this.#offset(chunk, frame) + offset] = 0',
        'chunk.memfd.bytes[offset] = 0',
      ],
    ],
  },
  {
    name: 'host-copy-in-the-wrong-page',
    bug: 'a copy reads the first page of the chunk',
    file: chunks,
    edits: [
      [
        'const at = this.#offset(chunk, frame) + offset\n    return',
        'const at = offset\n    return',
      ],
    ],
  },
  {
    name: 'host-closed-peer-still-hears',
    bug: 'a port whose peer is gone still has its connection number',
    file: links,
    edits: [['this.inbox.setConnection(this.slot, 0)', '']],
  },
  {
    name: 'host-no-event-for-the-dead',
    bug: 'the host does not send for the dead',
    file: links,
    edits: [['if (this.isTold) this.inbox.post(encodeU32(this.port))', '']],
  },
  {
    name: 'host-first-event-untold',
    bug: 'the answer to BIND_INTERDOMAIN does not tell of the first event',
    file: links,
    edits: [['else this.isRaised = true', '']],
    runs: ['host --only 187'],
  },
  {
    name: 'host-port-never-told',
    bug: 'the host keeps telling by an answer that was given long ago',
    file: session,
    edits: [['entry.isTold = true', '']],
    runs: ['host --only 80'],
  },
  {
    name: 'host-first-event-unheard',
    bug: 'a client does not hear of the first event of its port',
    file: events,
    edits: [['if (isRaised) this.ring.arrived(port)', '']],
    runs: ['host --only 187'],
  },
  {
    name: 'host-pending-lost',
    bug: 'what was sent to a masked port is lost',
    file: inboxBits,
    edits: [['word === 0 ? PORT_MASKED : word | PORT_PENDING', 'PORT_MASKED']],
  },
  {
    name: 'host-pending-forgotten-at-write-back',
    bug: 'a write-back forgets the event that was pending',
    file: inboxBits,
    edits: [['=== word) return isPending', '=== word) return false']],
  },
  {
    name: 'host-armed-dealloc-in-silence',
    bug: 'a DEALLOC that others would hear of is only queued',
    file: mirror,
    edits: [['found !== undefined && endsQuietly(found)', 'found !== undefined']],
  },
  {
    name: 'host-armed-unmap-in-silence',
    bug: 'an UNMAP that others would hear of is only queued',
    file: mirror,
    edits: [['map.count === count && endsQuietly(map)', 'map.count === count']],
    survives:
      'what is queued is made by the end of the same turn: byte and event come late by less than a case can tell',
  },
  {
    name: 'host-outboxes-late',
    bug: 'a call is answered before those that others have queued are made',
    file: 'src/host/server.ts',
    edits: [['this.#outboxes.empty(this.#makeQueued)\n    this.#doors', 'this.#doors']],
  },
  {
    name: 'host-released-pages-mappable',
    bug: 'pages that were released in part can still be mapped as a whole',
    file: mirror,
    edits: [['if (allocation.index < end && itsEnd > index) this.#forget(allocation)', '']],
  },
  {
    name: 'host-any-count-in-silence',
    bug: 'an UNMAP with a wrong count succeeds',
    file: mirror,
    edits: [['map !== undefined && map.count === count', 'map !== undefined']],
  },
  {
    name: 'host-foresees-no-limit',
    bug: 'a client books maps without a look at the limit',
    file: device,
    edits: [['count === 0 || count > gntdevLimit || !mayQueue', 'count === 0 || !mayQueue']],
  },
  {
    name: 'host-answer-not-stored',
    bug: 'what the driver stored is not copied back',
    file: device,
    edits: [
      [
        'for (let left = body.u32(); left > 0; left--) store(body, given)',
        'for (let left = body.u32(); left > 0; left--) store(body, new Uint8Array(65536))',
      ],
    ],
  },
  {
    name: 'host-reset-is-nothing',
    bug: 'RESET leaves the ring as it is',
    file: device,
    edits: [['events.ring.reset()', '']],
  },
  {
    name: 'host-overflow-writable',
    bug: 'poll reports POLLOUT after an overflow',
    file: device,
    edits: [['out: !hasOverflowed', 'out: true']],
  },
  {
    name: 'host-vaddr-gap',
    bug: 'GET_OFFSET_FOR_VADDR does not look above a gap',
    file: device,
    edits: [['if (memory.isDevice(vaddr)) return true', 'return memory.isDevice(vaddr)']],
  },
  {
    name: 'host-unbind-keeps-the-port',
    bug: 'the client does not hear that its port is unbound',
    file: device,
    edits: [['events.unbound(firstWord(ranges))', 'firstWord(ranges)']],
  },
  {
    name: 'host-write-only-reads',
    bug: 'a descriptor that was opened for writing can be read',
    file: device,
    edits: [["if (access === 'write') return -ERRNO.EBADF", '']],
  },
  {
    name: 'host-death-unnoticed',
    bug: 'a client that is gone keeps all that it had',
    file: session,
    edits: [['this.process.kill()', '']],
  },
  {
    name: 'host-mprotect-shows-lost-pages',
    bug: 'pages that the kernel took away stay visible',
    file: session,
    edits: [['if (first === NO_FRAME) at.push(page)', ';']],
    survives:
      'the case that touches such a page (303) needs a puppet that survives SIGBUS, which a host has not; an access to it reads stale bytes instead of zeroes',
  },
  {
    name: 'host-munmap-untold',
    bug: 'the host does not hear of munmap',
    file: memory,
    edits: [['if (!this.#overlaps(address, end)) return 0', 'return 0']],
  },
  {
    name: 'host-own-mapping-untold',
    bug: 'the host does not hear of a mapping that the client made by itself',
    file: memory,
    edits: [
      [
        'request.u64(length).u32(prot).u32(flags)\n    this.#socket.queue()',
        'request.u64(length).u32(prot).u32(flags)',
      ],
    ],
  },
  {
    name: 'host-mapping-never-placed',
    bug: 'the host is not told where a mapping lies',
    file: memory,
    edits: [
      [
        'this.#socket.begin(OP.place).u64(NOWHERE).u64(bytes).u64(address)\n    this.#socket.queue()',
        '',
      ],
    ],
  },
  {
    name: 'host-copy-sides-not-sent',
    bug: 'the local sides of a copy do not travel',
    file: gather,
    edits: [['intervals.push({ start: side.address, end: side.address + len })', '']],
  },
  {
    name: 'host-read-only-counts-as-writable',
    bug: 'memory that cannot be written travels as if it could',
    file: gather,
    edits: [['return result === 0 || !supportsPopulate()', 'return true']],
  },
  {
    name: 'host-faults-are-zeroes',
    bug: 'what cannot be read is zeroes to the driver',
    file: snapshot,
    edits: [['if (!this.canAccess(address, length, false)) return undefined', '']],
  },
  {
    name: 'host-notify-asks-nobody',
    bug: 'a client never asks for the way to its peer',
    file: events,
    edits: [
      ['bound.out?.serial === serial ? bound.out : this.#connect(bound, fd, port)', 'bound.out'],
    ],
  },
  {
    name: 'host-old-way-to-the-peer',
    bug: 'a way to the peer is used after the peer has changed',
    file: events,
    edits: [
      [
        'const out = bound.out?.serial === serial ? bound.out : this',
        'const out = bound.out ? bound.out : this',
      ],
    ],
  },
  {
    name: 'host-notify-any-port',
    bug: 'NOTIFY of a port that is not bound here succeeds',
    file: events,
    edits: [['if (!bound) return -ERRNO.ENOTCONN', 'if (!bound) return 0']],
  },
  {
    name: 'host-message-without-a-send',
    bug: 'a message of a port that was not sent to is believed',
    file: events,
    edits: [
      ['if (bound?.inbox === inbox && bound.isMasked) this', 'if (bound?.inbox === inbox) this'],
    ],
    survives: 'only a hostile sender writes such messages: test/host/hostile.test.ts does',
  },
  {
    name: 'host-read-only-chunk-writable',
    bug: 'the granter of read-only pages cannot write to them',
    file: cache,
    edits: [['if (isGranter && !isWritable) {', 'if (isGranter && isWritable && pages < 0) {']],
  },
]
