const file = 'src/kernel/gntdev.ts'
const map = 'src/kernel/grant-map.ts'
const indexes = 'src/kernel/index-space.ts'
const copy = 'src/kernel/gntdev-copy.ts'

/** /dev/xen/gntdev: maps, their indexes and GRANT_COPY. */
export const gntdev = [
  {
    name: 'gntdev-map-nothing',
    bug: 'MAP of no grants succeeds',
    file,
    edits: [['if (count === 0) return -ERRNO.EINVAL', '']],
  },
  {
    name: 'gntdev-limit-one-short',
    bug: 'MAP of as many pages as the limit is refused',
    file,
    edits: [
      ['profile.limitsEachMap && wanted > limit', 'profile.limitsEachMap && wanted >= limit'],
    ],
  },
  {
    name: 'gntdev-efault-keeps-the-map',
    bug: 'a map whose index cannot be stored stays in the list',
    file,
    edits: [['if (profile.withdrawsUnreadMaps) this.#withdraw(map)', '']],
  },
  {
    name: 'gntdev-unmap-einval',
    bug: 'UNMAP of an unknown index answers EINVAL',
    file,
    edits: [
      [
        'if (!map) return this.refuse(ERRNO.ENOENT, { index, count })',
        'if (!map) return this.refuse(ERRNO.EINVAL, { index, count })',
      ],
    ],
  },
  {
    name: 'gntdev-count-zero',
    bug: 'a count of 0 matches no map',
    file,
    edits: [['return count === 0 || count === map.count', 'return count === map.count']],
  },
  {
    name: 'gntdev-any-count',
    bug: 'UNMAP and mmap take any count for the right one',
    file,
    edits: [['return count === 0 || count === map.count ? map : undefined', 'return map']],
  },
  {
    name: 'gntdev-index-is-not-narrowed',
    bug: 'an index beyond 32 bits of pages finds nothing',
    file,
    edits: [['const index = page | 0', 'const index = page']],
  },
  {
    name: 'gntdev-private-writable',
    bug: 'a private writable mapping is let through',
    file,
    edits: [['if (request.isWritable && !request.isShared) return -ERRNO.EINVAL', '']],
  },
  {
    name: 'gntdev-notify-map-first',
    bug: 'SET_UNMAP_NOTIFY looks for the map before the port',
    file,
    edits: [
      [
        'if (!holdPort(this.domain, action, port)) return',
        'if (!this.#maps.atOrBelow(Math.floor(index / PAGE_SIZE))) return -ERRNO.ENOENT\nif (!holdPort(this.domain, action, port)) return',
      ],
    ],
  },
  {
    name: 'gntdev-notify-leaks-a-port',
    bug: 'a notification for no map keeps the port that it asked for',
    file,
    edits: [
      [
        'releasePort(this.domain, action, port)\n      return this.refuse(ERRNO.ENOENT',
        'return this.refuse(ERRNO.ENOENT',
      ],
    ],
  },
  {
    name: 'gntdev-clear-read-only',
    bug: 'a byte of a read-only mapping can be armed',
    file,
    edits: [['if (clearsByte(action) && map.isReadonly) {', 'if (clearsByte(action) && !map) {']],
  },
  {
    name: 'gntdev-notify-one-page-beyond',
    bug: 'the page behind a map belongs to it',
    file,
    edits: [['page >= map.start + map.count', 'page > map.start + map.count']],
  },
  {
    name: 'gntdev-notify-first-page',
    bug: 'the byte to clear is always in the first page',
    file,
    edits: [
      [
        'map.setNotify(action, index - map.start * PAGE_SIZE, port)',
        'map.setNotify(action, index % PAGE_SIZE, port)',
      ],
    ],
  },
  {
    name: 'gntdev-close-newest-first',
    bug: 'close releases the last map first',
    file,
    edits: [
      [
        'for (const map of [...this.#maps]) map.put()',
        'for (const map of [...this.#maps].reverse()) map.put()',
      ],
    ],
  },
  {
    name: 'gntdev-close-keeps',
    bug: 'close releases no map',
    file,
    edits: [['for (const map of [...this.#maps]) map.put()', '']],
  },
  {
    name: 'gntdev-vaddr-exact',
    bug: 'GET_OFFSET_FOR_VADDR does not look above a gap',
    file,
    edits: [['caller.addressSpace.find(abi', 'caller.addressSpace.at(abi']],
  },
  {
    name: 'gntdev-index-reused-at-once',
    bug: 'a hole of just the right size is used',
    file: indexes,
    edits: [
      ['count < this.#longestAtMost', 'count <= this.#longestAtMost'],
      ['if (hole.length > count) return hole', 'if (hole.length >= count) return hole'],
    ],
  },
  {
    name: 'gntdev-index-does-not-restart',
    bug: 'indexes never start again at 0',
    file: indexes,
    edits: [['if (hole.start + hole.length === this.#end) {', 'if (hole.length < 0) {']],
  },
  {
    name: 'gntdev-holes-do-not-join',
    bug: 'two holes side by side stay two',
    file: indexes,
    edits: [
      [
        'if (before && before.start + before.length === start) {',
        'if (before && before.length < 0) {',
      ],
      ['if (after && after.start === start + count) {', 'if (after && after.length < 0) {'],
    ],
  },
  {
    name: 'gntdev-mmap-twice',
    bug: 'an index can be mapped again',
    file: map,
    edits: [['if (this.#domain.profile.mapsOnce) return false', '']],
  },
  {
    name: 'gntdev-always-writable',
    bug: 'a mapping without PROT_WRITE is mapped writable',
    file: map,
    edits: [['this.#isReadonly = !writable', 'this.#isReadonly = false']],
  },
  {
    name: 'gntdev-good-pages-stay',
    bug: 'the good pages of a mapping that failed stay pinned',
    file: map,
    edits: [
      ['if (this.#isPv) this.#unmapRange(0, this.count)\n    this.closed()', 'this.closed()'],
    ],
  },
  {
    name: 'gntdev-failed-mmap-keeps-a-user',
    bug: 'a mapping that failed counts as a user for ever',
    file: map,
    edits: [['this.closed()\n    return refusal', 'return refusal']],
  },
  {
    name: 'gntdev-munmap-takes-all',
    bug: 'munmap of one page takes all pages of the map from Xen',
    file: map,
    edits: [
      [
        'if (this.#isPv) this.#unmapRange(first, count)',
        'if (this.#isPv) this.#unmapRange(0, this.count)',
      ],
    ],
  },
  {
    name: 'gntdev-munmap-keeps',
    bug: 'munmap leaves the pages pinned until UNMAP',
    file: map,
    edits: [['if (this.#isPv) this.#unmapRange(first, count)', '']],
  },
  {
    name: 'gntdev-byte-too-early',
    bug: 'the byte is cleared by whichever page goes first',
    file: map,
    edits: [['if (page < first || page >= first + count) return', '']],
  },
  {
    name: 'gntdev-byte-forgotten',
    bug: 'only the first page of a range can have the byte',
    file: map,
    edits: [['if (page < first || page >= first + count) return', 'if (page !== first) return']],
  },
  {
    name: 'gntdev-old-port-kept',
    bug: 'arming anew keeps the reference to the old port',
    file: map,
    edits: [['releasePort(this.#domain, ', 'void (this.#domain, ']],
  },
  {
    name: 'gntdev-event-at-munmap',
    bug: 'the event does not wait for UNMAP',
    file: map,
    edits: [
      [
        'if (this.#isPv) this.#unmapRange(first, count)',
        'if (!this.#isPv) return\nthis.#unmapRange(first, count)\nif (this.#liveGrants === 0) this.#fireEvent()',
      ],
    ],
  },
  {
    name: 'gntdev-no-event',
    bug: 'the event of a map is never sent',
    file: map,
    edits: [
      [
        'fireEvent(this.#domain, this.#action, this.#port)',
        'releasePort(this.#domain, this.#action, this.#port)',
      ],
    ],
  },
  {
    name: 'gntdev-domid-wide',
    bug: 'a domid of more than 16 bits names nobody',
    file: map,
    edits: [
      [
        'const domid = (this.#elements[2 * page] ?? 0) & DOMID_MASK\n    return',
        'const domid = this.#elements[2 * page] ?? 0\n    return',
      ],
    ],
  },
  {
    name: 'gntdev-one-handle-on-pv',
    bug: 'a PV kernel does not map the page for itself',
    file: map,
    edits: [['this.#times = this.#isPv ? 2 : 1', 'this.#times = 1']],
  },
  {
    name: 'gntdev-kernel-handle-leak',
    bug: "the kernel's own mapping of a page stays",
    file: 'src/hypervisor/grant-table.ts',
    edits: [
      ['const pins = times * (', 'const pins = 1 * ('],
      ['else this.unpin(ref, writable, times)', 'else this.unpin(ref, writable, 1)'],
    ],
  },
  {
    name: 'gntdev-foreign-page-copied',
    bug: "another domain's page counts as one's own for a copy",
    file: map,
    edits: [['return this.grant(page).domid !== this.#domain.domid', 'return false']],
  },
  {
    name: 'copy-batch-of-17',
    bug: 'a batch has one operation more',
    file: copy,
    edits: [
      ['this.#batch.length >= abi.GRANT_COPY_BATCH', 'this.#batch.length > abi.GRANT_COPY_BATCH'],
    ],
  },
  {
    name: 'copy-local-to-local',
    bug: 'a segment without a grant is copied',
    file: copy,
    edits: [
      ["if (!('ref' in segment.source) && !('ref' in segment.dest)) return -ERRNO.EINVAL", ''],
    ],
  },
  {
    name: 'copy-dest-overruns',
    bug: 'only the source is checked for the end of its page',
    file: copy,
    edits: [
      [
        'if (overruns(segment.source, segment.len) || overruns(segment.dest, segment.len)) {',
        'if (overruns(segment.source, segment.len)) {',
      ],
    ],
  },
  {
    name: 'copy-last-status-wins',
    bug: 'a later operation overwrites the status of one that failed',
    file: copy,
    edits: [['if (old[0] !== 0 || old[1] !== 0) continue', '']],
  },
  {
    name: 'copy-refusal-executes',
    bug: 'what is queued is executed although a segment is refused',
    file: copy,
    edits: [
      [
        'if (result < 0) return result\n    }\n    return end < this.#count',
        'if (result < 0) {\n this.#flush()\n return result\n}\n    }\n    return end < this.#count',
      ],
    ],
  },
  {
    name: 'copy-into-read-only-memory',
    bug: 'the destination need not be writable',
    file: copy,
    edits: [
      [
        'if (!this.#memory.canAccess(address, length, writable)) return undefined',
        'if (!this.#memory.canAccess(address, length, false)) return undefined',
      ],
    ],
  },
  {
    name: 'copy-crosses-local-pages',
    bug: 'a local side is not cut at the ends of pages',
    file: copy,
    edits: [['return PAGE_SIZE - ((side.address + copied) % PAGE_SIZE)', 'return PAGE_SIZE']],
  },
  {
    name: 'copy-second-piece-from-the-start',
    bug: 'the second operation of a segment reads the grant from its offset again',
    file: copy,
    edits: [['offset: side.offset + copied }', 'offset: side.offset }']],
  },
  {
    name: 'copy-nothing-flagless',
    bug: 'a segment of no bytes needs no grant',
    file: copy,
    edits: [
      ["if (!('ref' in segment.source)", "if (segment.len > 0 && !('ref' in segment.source)"],
    ],
  },
]
