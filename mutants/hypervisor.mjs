const table = 'src/hypervisor/grant-table.ts'
const mapping = 'src/hypervisor/grant-mapping.ts'
const maptrack = 'src/hypervisor/maptrack.ts'
const copy = 'src/hypervisor/grant-copy.ts'
const calls = 'src/hypervisor/channel-calls.ts'
const channels = 'src/hypervisor/event-channels.ts'
const pool = 'src/hypervisor/number-pool.ts'
const xen = 'src/hypervisor/hypervisor.ts'

/** Grant tables, maptrack, event channels, and the end of domains. */
export const hypervisor = [
  {
    name: 'grant-to-anybody',
    bug: 'any domain may map what was granted to one',
    file: table,
    edits: [
      [
        'if ((word & GTF_TYPE_MASK) !== GTF_PERMIT_ACCESS || word >>> 16 !== mapper) return false',
        'if ((word & GTF_TYPE_MASK) !== GTF_PERMIT_ACCESS) return false',
      ],
    ],
  },
  {
    name: 'grant-without-entry',
    bug: 'an entry that was revoked can be mapped',
    file: table,
    edits: [
      [
        'if ((word & GTF_TYPE_MASK) !== GTF_PERMIT_ACCESS || word >>> 16 !== mapper) return false',
        'if (word >>> 16 !== mapper) return false',
      ],
    ],
  },
  {
    name: 'grant-read-only-is-writable',
    bug: 'a read-only grant can be mapped writable',
    file: table,
    edits: [['return !writable || (word & GTF_READONLY) === 0', 'return true']],
  },
  {
    name: 'grant-flag-inverted',
    bug: 'grants are read-only when they should be writable',
    file: table,
    edits: [['readonly ? GTF_READONLY : 0', 'readonly ? 0 : GTF_READONLY']],
  },
  {
    name: 'grant-one-pin-more',
    bug: 'one more mapping of a grant is admitted',
    file: table,
    edits: [['PIN_LIMIT - times) return false', 'PIN_LIMIT - times + 1) return false']],
    survives:
      'PV takes two pins for a page, so that the odd one is never asked for; a mapping of an HVM domain to another would show it',
  },
  {
    name: 'grant-no-pin-limit',
    bug: 'the counter of pins wraps around',
    file: table,
    edits: [['if (count > PIN_LIMIT - times) return false', '']],
  },
  {
    name: 'grant-ended-stays-open',
    bug: 'an entry that was ended can still be mapped',
    file: table,
    edits: [['this.#shared[2 * ref] = word & ~0xffff', '']],
  },
  {
    name: 'grant-ended-while-mapped',
    bug: 'an entry is ended although the peer maps it',
    file: table,
    edits: [['if ((word & (GTF_READING | GTF_WRITING)) !== 0) return false', '']],
  },
  {
    name: 'grant-in-use-for-ever',
    bug: 'the entry of an unmapped grant stays in use',
    file: table,
    edits: [['if ((active & PINS) === 0) word &= ~GTF_READING', '']],
  },
  {
    name: 'grant-free-too-early',
    bug: 'the entry counts as unused after the first of two unmaps',
    file: table,
    edits: [
      ['if ((active & PINS) === 0) word &= ~GTF_READING', 'word &= ~GTF_READING'],
      ['if ((active & WRITE_PINS) === 0) word &= ~GTF_WRITING', 'word &= ~GTF_WRITING'],
    ],
  },
  {
    name: 'map-self-domid',
    bug: 'DOMID_SELF names the mapper itself',
    file: mapping,
    edits: [
      [
        'const granter = xen.domain(domid)',
        'const granter = xen.domain(domid === 0x7ff0 ? mapper.domid : domid)',
      ],
    ],
  },
  {
    name: 'map-failed-keeps-its-handle',
    bug: 'a map that is refused keeps its handle',
    file: mapping,
    edits: [['mapper.maptrack.put(handle)\n  return status', 'return status']],
  },
  {
    name: 'map-of-a-zombie',
    bug: 'pages of a destroyed domain can be mapped that nobody keeps',
    file: mapping,
    edits: [['if (granter.isDying && grants.pins(ref) === 0) return GNTST.bad_domain', '']],
    survives:
      'destroyDomain ends the entry of every page that is not pinned, so that the check before this one refuses the map already',
  },
  {
    name: 'map-beyond-the-table',
    bug: 'the ref behind the last is looked up',
    file: mapping,
    edits: [['if (ref >= grants.size) return GNTST.bad_gntref', '']],
    survives:
      'a ref beyond the table is not granted either, and mmap answers EINVAL for each of the two statuses',
  },
  {
    name: 'unmap-keeps-its-handle',
    bug: 'an unmapped grant keeps its handle',
    file: mapping,
    edits: [['maptrack.put(handle)\n  if (!granter)', 'if (!granter)']],
  },
  {
    name: 'unmap-keeps-its-pin',
    bug: 'an unmapped grant stays pinned',
    file: mapping,
    edits: [['granter.grants.unpin(ref, writable, times)', '']],
  },
  {
    name: 'maptrack-writable-is-read',
    bug: 'maptrack forgets that a mapping was writable',
    file: maptrack,
    edits: [['writable ? WRITE : READ', 'READ']],
  },
  {
    name: 'copy-foreign-frame',
    bug: "another domain's page can be named by frame",
    file: copy,
    edits: [['return place.isForeign ? GNTST.bad_page : GNTST.okay', 'return GNTST.okay']],
  },
  {
    name: 'copy-no-domid-self',
    bug: 'a copy does not know DOMID_SELF',
    file: copy,
    edits: [
      ['place.domid === DOMID_SELF) return caller', 'place.domid === caller.domid) return caller'],
    ],
  },
  {
    name: 'copy-into-read-only-grant',
    bug: 'a copy may write to a read-only grant',
    file: copy,
    edits: [
      [
        'grants.admits(place.ref, caller.domid, writable)',
        'grants.admits(place.ref, caller.domid, false)',
      ],
    ],
  },
  {
    name: 'copy-bad-ref',
    bug: 'a copy from a ref beyond the table is general_error',
    file: copy,
    edits: [['return GNTST.bad_gntref', 'return GNTST.general_error']],
  },
  {
    name: 'copy-bad-domain',
    bug: 'a copy from a domain that is not there is general_error',
    file: copy,
    edits: [
      ['if (!from || !to) return GNTST.bad_domain', 'if (!from || !to) return GNTST.general_error'],
    ],
  },
  {
    name: 'channel-close-leaves-the-peer',
    bug: 'the other end of a closed channel stays connected',
    file: calls,
    edits: [['peer.channels.setUnbound(peerPort, domain.domid)\n', '']],
  },
  {
    name: 'channel-close-rings',
    bug: 'the other end of a closed channel gets an event',
    file: calls,
    edits: [
      [
        'peer.guest.disconnected(peerPort)',
        'peer.guest.raised(peerPort)\n  peer.guest.disconnected(peerPort)',
      ],
    ],
  },
  {
    name: 'channel-for-another',
    bug: 'a port that waits for another domain can be bound',
    file: calls,
    edits: [
      [
        'channels.state(remotePort) === EVTCHNSTAT.unbound &&\n    channels.peerDomid(remotePort) === domain.domid',
        'channels.state(remotePort) === EVTCHNSTAT.unbound',
      ],
    ],
  },
  {
    name: 'channel-bound-twice',
    bug: 'a port that is connected can be bound again',
    file: calls,
    edits: [['channels.state(remotePort) === EVTCHNSTAT.unbound &&\n', '']],
  },
  {
    name: 'channel-no-such-domain',
    bug: 'BIND_INTERDOMAIN to nobody answers EINVAL',
    file: calls,
    edits: [['if (!remote) return -ERRNO.ESRCH', 'if (!remote) return -ERRNO.EINVAL']],
  },
  {
    name: 'channel-unbound-self',
    bug: 'DOMID_SELF waits for a domain of that number',
    file: calls,
    edits: [['remoteDomid === DOMID_SELF ? domain.domid : remoteDomid)', 'remoteDomid)']],
  },
  {
    name: 'virq-one-too-many',
    bug: 'the virq behind the last can be bound',
    file: calls,
    edits: [
      ['if (virq >= NR_VIRQS) return -ERRNO.EINVAL', 'if (virq > NR_VIRQS) return -ERRNO.EINVAL'],
    ],
  },
  {
    name: 'virq-twice',
    bug: 'a virq can be bound twice',
    file: calls,
    edits: [['if (channels.portOfVirq(virq) !== 0) return -ERRNO.EEXIST', '']],
  },
  {
    name: 'virq-stays-bound',
    bug: 'a virq that was unbound cannot be bound again',
    file: channels,
    edits: [['if (this.#states[port] === EVTCHNSTAT.virq) this.#virqs[this.virq(port)] = 0', '']],
  },
  {
    name: 'ports-limit-one-short',
    bug: 'the highest permitted port is not given',
    file: channels,
    edits: [
      [
        'this.#numbers.peek() <= this.#limits.maxEventChannels',
        'this.#numbers.peek() < this.#limits.maxEventChannels',
      ],
    ],
    survives:
      'dom0 of the test bed has 131071 ports; test/kernel/limits.test.ts asks for the last one of a small domain',
  },
  {
    name: 'ports-last-freed-first',
    bug: 'the port that was freed last is given first',
    file: pool,
    edits: [
      ['const lowest = this.#free[0]', 'const lowest = this.#free.pop()'],
      ['const last = this.#free.pop() ?? lowest', 'return lowest\n    const last = lowest'],
      [
        'let at = heap.length\n    while (at > 0) {',
        'let at = heap.length\n    while (at > heap.length) {',
      ],
    ],
  },
  {
    name: 'destroy-leaves-channels',
    bug: 'the channels of a destroyed domain stay connected',
    file: xen,
    edits: [
      ['for (const port of [...domain.channels.ports()]) closeChannel(this, domain, port)', ''],
    ],
  },
  {
    name: 'destroy-leaves-pins',
    bug: 'a destroyed domain keeps its mappings',
    file: xen,
    edits: [
      ['for (const handle of [...domain.maptrack.handles()]) unmapGrant(this, domain, handle)', ''],
    ],
  },
  {
    name: 'destroy-no-zombie',
    bug: 'a destroyed domain is gone although its pages are mapped',
    file: xen,
    edits: [['if (domain.pinnedPages > 0) return', '']],
  },
  {
    name: 'destroy-zombie-for-ever',
    bug: 'a zombie stays when its last page was unmapped',
    file: xen,
    edits: [['domain.pinnedPages--\n    this.#bury(domain)', 'domain.pinnedPages--']],
  },
]
