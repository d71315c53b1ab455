const file = 'src/kernel/gntalloc.ts'
const grefs = 'src/kernel/grefs.ts'
const mapping = 'src/kernel/gntalloc-mapping.ts'
const refs = 'src/kernel/grant-refs.ts'

/** /dev/xen/gntalloc, and the refs of a kernel. */
export const gntalloc = [
  {
    name: 'gntalloc-quota-one-short',
    bug: 'the last page of the quota cannot be had',
    file,
    edits: [
      ['grefs.pagesInUse + wanted.count > limit', 'grefs.pagesInUse + wanted.count >= limit'],
    ],
  },
  {
    name: 'gntalloc-quota-ignores-what-is-in-use',
    bug: 'the quota is compared with this call alone',
    file,
    edits: [['grefs.pagesInUse + wanted.count > limit', 'wanted.count > limit']],
  },
  {
    name: 'gntalloc-private-mapping',
    bug: 'a private mapping is let through',
    file,
    edits: [['if (!request.isShared) return -ERRNO.EINVAL', '']],
  },
  {
    name: 'gntalloc-mmap-einval',
    bug: 'mmap of an index that is not there answers EINVAL and not ENOENT',
    file,
    edits: [
      [
        'return this.refuse(ERRNO.ENOENT, { index: firstPage',
        'return this.refuse(ERRNO.EINVAL, { index: firstPage',
      ],
    ],
  },
  {
    name: 'gntalloc-index-goes-back',
    bug: 'the index of the last page is used again once it was released',
    file,
    edits: [
      [
        'this.#pages.remove(first, count)',
        'this.#pages.remove(first, count)\nif (first + count === this.#counter) this.#counter = first',
      ],
    ],
  },
  {
    name: 'gntalloc-efault-frees',
    bug: 'pages whose refs cannot be stored are taken back',
    file,
    edits: [
      [
        'return isStored ? 0 : -ERRNO.EFAULT',
        `if (isStored) return 0
         for (let i = 0; i < refs.length; i++) {
           this.#pages.remove(first + i)
           this.domain.grefs.drop(refs[i])
         }
         return -ERRNO.EFAULT`,
      ],
    ],
  },
  {
    name: 'gntalloc-any-flag-is-writable',
    bug: 'any bit of the flags makes the grant writable',
    file,
    edits: [['(wanted.flags & abi.GNTALLOC_FLAG_WRITABLE) !== 0', 'wanted.flags !== 0']],
  },
  {
    name: 'gntalloc-dealloc-nothing',
    bug: 'DEALLOC of no pages succeeds',
    file,
    edits: [['Number.isInteger(first) && count > 0', 'Number.isInteger(first)']],
  },
  {
    name: 'gntalloc-dealloc-unaligned',
    bug: 'DEALLOC rounds an index inside of a page down',
    file,
    edits: [
      [
        'const first = index / PAGE_SIZE\n    const { grefs }',
        'const first = Math.floor(index / PAGE_SIZE)\n    const { grefs }',
      ],
    ],
  },
  {
    name: 'gntalloc-dealloc-one-page',
    bug: 'DEALLOC of a run releases its first page only',
    file,
    edits: [
      [
        'grefs.drop(refs)\n    grefs.cleanUp()',
        'grefs.drop(refs.slice(0, 1))\n    grefs.cleanUp()',
      ],
    ],
  },
  {
    name: 'gntalloc-dealloc-some',
    bug: 'DEALLOC releases what it finds of a run that has a hole',
    file,
    edits: [
      [
        'isRun ? this.#pages.run(first, count) : undefined',
        'isRun ? this.#pages.run(first, 1) : undefined',
      ],
    ],
  },
  {
    name: 'gntalloc-notify-einval',
    bug: 'SET_UNMAP_NOTIFY of a page that is not there answers EINVAL',
    file,
    edits: [
      [
        'if (ref === 0) return this.refuse(ERRNO.ENOENT',
        'if (ref === 0) return this.refuse(ERRNO.EINVAL',
      ],
    ],
  },
  {
    name: 'gntalloc-notify-action-first',
    bug: 'the action is looked at before the page',
    file,
    edits: [
      [
        'if (ref === 0) return',
        'if (!isKnownAction(action)) return -ERRNO.EINVAL\nif (ref === 0) return',
      ],
    ],
  },
  {
    name: 'gntalloc-notify-first-byte',
    bug: 'the byte to clear is always the first of its page',
    file,
    edits: [['setNotify(ref, action, index % PAGE_SIZE, port)', 'setNotify(ref, action, 0, port)']],
  },
  {
    name: 'gntalloc-close-newest-first',
    bug: 'close releases the newest page first',
    file,
    edits: [
      ['drop(Uint32Array.from(this.#pages))', 'drop(Uint32Array.from(this.#pages).reverse())'],
    ],
  },
  {
    name: 'gntalloc-close-keeps',
    bug: 'close releases nothing',
    file,
    edits: [['this.domain.grefs.drop(Uint32Array.from(this.#pages))', '']],
  },
  {
    name: 'grefs-event-before-byte',
    bug: 'the event is sent before the byte is cleared',
    file: grefs,
    edits: [
      ['    fireEvent(this.#domain, action, this.#ports[ref] ?? 0)\n', ''],
      [
        '    if (clearsByte(action)) {',
        '    fireEvent(this.#domain, action, this.#ports[ref] ?? 0)\n    if (clearsByte(action)) {',
      ],
    ],
  },
  {
    name: 'grefs-byte-or-event',
    bug: 'the byte is left alone when an event is asked for too',
    file: grefs,
    edits: [['if (clearsByte(action)) {', 'if (action === 1) {']],
  },
  {
    name: 'grefs-quota-leak',
    bug: 'a page that was deleted still counts',
    file: grefs,
    edits: [['profile.freesByTimer ? unused.length : ended', '0']],
  },
  {
    name: 'grefs-old-port-kept',
    bug: 'arming anew keeps the reference to the old port',
    file: grefs,
    edits: [['releasePort(this.#domain, ', 'void (this.#domain, ']],
  },
  {
    name: 'grefs-mapping-holds-nothing',
    bug: 'a mapping is no user of its pages',
    file: mapping,
    edits: [
      ['domain.grefs.hold(refs)', ''],
      ['grefs.drop(released)', ''],
    ],
  },
  {
    name: 'gntalloc-partial-munmap-releases',
    bug: 'the first piece that is unmapped counts as the last',
    file: mapping,
    edits: [['if (this.#pieces > 0) return', 'if (this.#pieces < 0) return']],
  },
  {
    name: 'gntalloc-split-not-counted',
    bug: 'a mapping that was cut in two is still counted as one piece',
    file: mapping,
    edits: [['this.#pieces++', '']],
  },
  {
    name: 'refs-never-reused',
    bug: 'a ref that was freed is not handed out again',
    file: refs,
    edits: [['if (this.#rules.returnsRefs) this.#put(ended)', '']],
  },
  {
    name: 'refs-reserved-handed-out',
    bug: 'the refs of xenstore and console are handed out',
    file: refs,
    edits: [['this.#thread(RESERVED_REFS, domain', 'this.#thread(1, domain']],
  },
  {
    name: 'refs-freed-while-mapped',
    bug: 'a ref goes back to the free ones while its page is mapped',
    file: refs,
    edits: [['waiting.push(left[count] as number)', 'this.#put(left.subarray(count, count + 1))']],
  },
  {
    name: 'refs-deferred-for-ever',
    bug: 'nobody looks after a ref that was mapped when it was ended',
    file: refs,
    edits: [['if (waiting > 0 && this.#rules.freesByTimer) this.#setTimer()', '']],
  },
  {
    name: 'refs-timer-once',
    bug: 'what is still mapped at the first tick is never looked at again',
    file: refs,
    edits: [
      [
        'this.#tryEnd(tried, this.#deferred)\n    this.#setTimer()',
        'this.#tryEnd(tried, this.#deferred)',
      ],
    ],
  },
]
