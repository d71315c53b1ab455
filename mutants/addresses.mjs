const process = 'src/kernel/process.ts'
const refusal = 'src/kernel/mmap-refusal.ts'
const space = 'src/kernel/address-space.ts'
const vma = 'src/kernel/vma.ts'
const descriptors = 'src/kernel/descriptors.ts'
const pageCalls = 'src/kernel/page-calls.ts'
const openFile = 'src/kernel/open-file.ts'
const world = 'src/sim/world-user-memory.ts'

/** Processes: their memory maps, their descriptors, and their end. */
export const addresses = [
  {
    name: 'death-files-before-memory',
    bug: 'a dead process loses its files before its memory',
    file: process,
    edits: [
      ['this.#isDead = true\n    this.addressSpace.clear()\n', 'this.#isDead = true\n'],
      [
        'this.#releaseDelayed()\n    this.domain.processGone(this)',
        'this.#releaseDelayed()\n    this.addressSpace.clear()\n    this.#releaseDelayed()\n    this.domain.processGone(this)',
      ],
    ],
  },
  {
    name: 'death-oldest-file-first',
    bug: 'a dead process loses its lowest descriptor first',
    file: process,
    edits: [
      [
        'for (let file = this.#delayed.pop(); file; file = this.#delayed.pop()) {',
        'for (let file = this.#delayed.shift(); file; file = this.#delayed.shift()) {',
      ],
    ],
  },
  {
    name: 'death-releases-nothing',
    bug: 'a killed process keeps its descriptors',
    file: process,
    edits: [
      [
        'if (file?.drop()) this.#delayed.push(file)\n    }\n    this.#releaseDelayed()\n    this.domain',
        '}\n    this.domain',
      ],
    ],
  },
  {
    name: 'mmap-read-only-descriptor-writes',
    bug: 'a descriptor without write mode can be mapped writable',
    file: refusal,
    edits: [['if (type === MAP_SHARED && isWritable && !file.canWrite) return -ERRNO.EACCES', '']],
  },
  {
    name: 'mmap-write-only-descriptor',
    bug: 'a descriptor without read mode can be mapped',
    file: refusal,
    edits: [['if (!file.canRead) return -ERRNO.EACCES', '']],
  },
  {
    name: 'mmap-shared-bit-stays',
    bug: 'a read-only descriptor is mapped shared',
    file: process,
    edits: [
      [
        'const isShared = type === MAP_SHARED && file.canWrite',
        'const isShared = type === MAP_SHARED',
      ],
    ],
  },
  {
    name: 'mmap-unaligned',
    bug: 'an offset inside of a page reaches the driver',
    file: refusal,
    edits: [['offset % PAGE_SIZE !== 0 || address % PAGE_SIZE', 'address % PAGE_SIZE']],
  },
  {
    name: 'mmap-nothing',
    bug: 'mmap of no bytes reaches the driver',
    file: refusal,
    edits: [['if (!(length > 0)) return -ERRNO.EINVAL', '']],
  },
  {
    name: 'mmap-over-keeps',
    bug: 'what is mapped over stays in the books',
    file: process,
    edits: [['this.addressSpace.unmap(address, end)\n    const firstPage', 'const firstPage']],
  },
  {
    name: 'anonymous-over-keeps',
    bug: 'anonymous memory over a mapping leaves the mapping in the books',
    file: process,
    edits: [
      [
        'const end = address + pagesOf(length) * PAGE_SIZE\n    this.addressSpace.unmap(address, end)',
        'const end = address + pagesOf(length) * PAGE_SIZE',
      ],
    ],
  },
  {
    name: 'mmap-private-stays-writable',
    bug: 'a private mapping of gntdev may be made writable',
    file: process,
    edits: [['type === MAP_SHARED ? file.canWrite : file.allowsPrivateWrite', 'file.canWrite']],
  },
  {
    name: 'mapping-holds-no-file',
    bug: 'close releases a file although its pages are mapped',
    file: space,
    edits: [
      ['vma.file?.hold()', ''],
      ['if (vma.file?.drop()) this.#dropped(vma.file)', ''],
    ],
  },
  {
    name: 'munmap-tells-no-notifier',
    bug: 'the notifiers do not hear of munmap',
    file: space,
    edits: [['for (const piece of doomed) revoke(piece)', '']],
  },
  {
    name: 'protect-same-tells',
    bug: 'the notifiers hear of a protection that does not change',
    file: space,
    edits: [['if (vma.prot === prot) continue', '']],
  },
  {
    name: 'protect-tells-no-notifier',
    bug: 'the notifiers do not hear of mprotect',
    file: space,
    edits: [['revoke(piece)\n      piece.prot = prot', 'piece.prot = prot']],
  },
  {
    name: 'protect-always-allowed',
    bug: 'mprotect makes anything writable',
    file: space,
    edits: [['if ((prot & PROT_WRITE) !== 0 && !vma.mayWrite) return -ERRNO.EACCES', '']],
  },
  {
    name: 'protect-hole',
    bug: 'mprotect over a hole succeeds',
    file: space,
    edits: [['if (!vma) return -ERRNO.ENOMEM', 'if (!vma) return 0']],
    survives:
      'where a view could live a platform leaves an anonymous page and no hole, so that no case can ask',
  },
  {
    name: 'split-not-told',
    bug: 'a mapping does not hear that it was cut in two',
    file: space,
    edits: [['vma.end = address\n    vma.backing?.opened()', 'vma.end = address']],
  },
  {
    name: 'split-forgets-its-place',
    bug: 'the upper piece of a mapping counts its pages from 0',
    file: space,
    edits: [['vma.firstPage + (address - vma.start) / PAGE_SIZE', 'vma.firstPage']],
  },
  {
    name: 'munmap-descending',
    bug: 'munmap closes its pieces from the highest address down',
    file: space,
    edits: [['doomed.push(piece)', 'doomed.unshift(piece)']],
  },
  {
    name: 'death-descending',
    bug: 'a dead process loses its mappings from the highest address down',
    file: space,
    edits: [['const doomed = [...this.#vmas]', 'const doomed = [...this.#vmas].reverse()']],
  },
  {
    name: 'read-enosys',
    bug: 'read of a grant device answers ENOSYS',
    file: openFile,
    edits: [
      [
        'read(_into: Uint8Array): Result {\n    return -ERRNO.EINVAL',
        'read(_into: Uint8Array): Result {\n    return -ERRNO.ENOSYS',
      ],
    ],
  },
  {
    name: 'poll-idle',
    bug: 'a grant device never polls as ready',
    file: openFile,
    edits: [
      [
        'return { in: true, out: true, err: false }',
        'return { in: false, out: false, err: false }',
      ],
    ],
  },
  {
    name: 'user-memory-writes-anywhere',
    bug: 'a driver stores into memory that is read-only',
    file: world,
    edits: [
      [
        "eachPage(address, bytes.byteLength, 'store', (",
        "eachPage(address, bytes.byteLength, 'load', (",
      ],
    ],
  },
  {
    name: 'fork-not-told',
    bug: 'a mapping does not hear that a forked child has it too',
    file: space,
    edits: [['vma.backing?.opened()\n      child', 'child']],
  },
  {
    name: 'fork-inherits-everything',
    bug: 'a forked child has every mapping',
    file: space,
    edits: [['if (!vma.isInherited) continue', '']],
  },
  {
    name: 'fork-holds-no-file',
    bug: 'the descriptors of a forked child hold nothing',
    file: descriptors,
    edits: [['for (const file of this.#files.values()) file.hold()', '']],
  },
  {
    name: 'dontfork-ignored',
    bug: 'MADV_DONTFORK does nothing',
    file: process,
    edits: [['piece.isInherited = false', '']],
  },
  {
    name: 'dontneed-ignored',
    bug: 'MADV_DONTNEED leaves the pages of a driver where they are',
    file: process,
    edits: [['piece.isEmptied = backing !== undefined', '']],
  },
  {
    name: 'remap-grows',
    bug: 'the mapping of a driver can be made longer',
    file: process,
    edits: [['if (vma.backing) return -ERRNO.EFAULT', '']],
  },
  {
    name: 'remap-tells-no-notifier',
    bug: 'the notifiers do not hear of mremap',
    file: space,
    edits: [['revoke(piece)\n    piece.backing', 'piece.backing']],
  },
  {
    name: 'fault-without-access',
    bug: 'PROT_NONE is obeyed where Xen makes the page table entries',
    file: vma,
    edits: [['(this.backing?.isEnteredByXen === true && !isGone)', 'false']],
  },
  {
    name: 'futex-shared',
    bug: 'a shared futex works in the page of a driver',
    file: pageCalls,
    edits: [['(!isPrivate && process.vma(address)?.backing)', 'false']],
  },
]
