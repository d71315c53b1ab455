const file = 'src/kernel/evtchn.ts'
const ring = 'src/kernel/event-ring.ts'
const bindings = 'src/kernel/port-bindings.ts'
const notify = 'src/kernel/unmap-notify.ts'

/** /dev/xen/evtchn, its ring, the ports of a kernel, and who holds them. */
export const evtchn = [
  {
    name: 'evtchn-no-first-event',
    bug: 'the side that binds has no first event',
    file,
    edits: [['this.domain.ports.end(port)?.raise()', '']],
  },
  {
    name: 'evtchn-restrict-to-0',
    bug: 'a descriptor can be restricted to domain 0',
    file,
    edits: [['domid === 0 || domid >= DOMID_FIRST_RESERVED', 'domid >= DOMID_FIRST_RESERVED']],
  },
  {
    name: 'evtchn-restrict-to-self',
    bug: 'a descriptor can be restricted to DOMID_SELF',
    file,
    edits: [['domid >= DOMID_FIRST_RESERVED', 'domid > DOMID_FIRST_RESERVED']],
  },
  {
    name: 'evtchn-restrict-again',
    bug: 'a restriction can be changed',
    file,
    edits: [
      [
        'if (this.#restrictedTo !== undefined) return this.#refuseRestricted()\n    const bytes = memory.read(argument, 2)',
        'const bytes = memory.read(argument, 2)',
      ],
    ],
  },
  {
    name: 'evtchn-virq-efault-first',
    bug: 'BIND_VIRQ looks at its argument before the restriction',
    file,
    edits: [
      [
        'if (this.#restrictedTo !== undefined) return this.#refuseRestricted()\n    const virq = this.#word(argument, memory)\n',
        'const virq = this.#word(argument, memory)\n',
      ],
      [
        'if (virq === undefined) return -ERRNO.EFAULT',
        'if (virq === undefined) return -ERRNO.EFAULT\nif (this.#restrictedTo !== undefined) return this.#refuseRestricted()',
      ],
    ],
  },
  {
    name: 'evtchn-restricted-unbound',
    bug: 'a restricted descriptor may bind for its own domain',
    file,
    edits: [
      [
        'if (this.#restrictedTo !== undefined) return this.#refuseRestricted()\n    const remote',
        'const remote',
      ],
    ],
  },
  {
    name: 'evtchn-restricted-interdomain',
    bug: 'a restricted descriptor may bind to any domain',
    file,
    edits: [
      [
        'if (this.#restrictedTo !== undefined && this.#restrictedTo !== remoteDomid) {',
        'if (this.#restrictedTo === 0) {',
      ],
    ],
  },
  {
    name: 'evtchn-domid-wide',
    bug: 'BIND_INTERDOMAIN does not narrow its domain to 16 bits',
    file,
    edits: [
      [
        'bindInterdomain(hypervisor, xen, remoteDomid & DOMID_MASK, remotePort)',
        'bindInterdomain(hypervisor, xen, remoteDomid, remotePort)',
      ],
    ],
  },
  {
    name: 'evtchn-unbind-enotconn',
    bug: 'UNBIND of a port beyond all answers ENOTCONN',
    file,
    edits: [['if (port >= this.domain.ports.bound) return -ERRNO.EINVAL', '']],
  },
  {
    name: 'evtchn-notify-einval',
    bug: 'NOTIFY of a port that is not bound answers EINVAL',
    file,
    edits: [
      [
        'if (!this.#has(port)) return this.refuse(ERRNO.ENOTCONN, { port })\n    this.domain.ports.send',
        'if (!this.#has(port)) return this.refuse(ERRNO.EINVAL, { port })\n    this.domain.ports.send',
      ],
    ],
  },
  {
    name: 'evtchn-any-descriptor-notifies',
    bug: "NOTIFY works for a port of the domain's, whoever bound it",
    file,
    edits: [
      [
        'if (!this.#has(port)) return this.refuse(ERRNO.ENOTCONN, { port })\n    this.domain.ports.send',
        'if (!this.domain.ports.has(port)) return this.refuse(ERRNO.ENOTCONN, { port })\n    this.domain.ports.send',
      ],
    ],
  },
  {
    name: 'evtchn-static-twice',
    bug: 'BIND_STATIC of a port that is bound here is not EISCONN',
    file,
    edits: [['if (this.#has(port)) return this.refuse(ERRNO.EISCONN, { port })', '']],
  },
  {
    name: 'evtchn-close-keeps',
    bug: 'close leaves its ports bound',
    file,
    edits: [['for (const port of ports.readBy(this.#queue)) ports.unbind(port)', '']],
  },
  {
    name: 'evtchn-overflow-writable',
    bug: 'poll reports POLLOUT after an overflow',
    file,
    edits: [
      ['return { in: false, out: false, err: true }', 'return { in: false, out: true, err: true }'],
    ],
  },
  {
    name: 'evtchn-enotty',
    bug: 'an unknown ioctl answers ENOTTY as on the other devices',
    file,
    edits: [['default:\n        return -ERRNO.ENOSYS', 'default:\n        return -ERRNO.ENOTTY']],
  },
  {
    name: 'evtchn-write-only-reads',
    bug: 'a descriptor that was opened for writing can be read',
    file,
    edits: [['if (!this.canRead) return -ERRNO.EBADF', '']],
  },
  {
    name: 'ring-one-entry-short',
    bug: 'the ring overflows one event too early',
    file: ring,
    edits: [
      [
        'if (this.#prod - this.#cons >= this.#ring.length) {',
        'if (this.#prod - this.#cons >= this.#ring.length - 1) {',
      ],
    ],
  },
  {
    name: 'ring-overflow-drops',
    bug: 'an event that finds the ring full is dropped in silence',
    file: ring,
    edits: [['this.#overflow = true', '']],
  },
  {
    name: 'ring-reset-keeps-overflow',
    bug: 'RESET does not end an overflow',
    file: ring,
    edits: [['this.#cons = 0\n    this.#overflow = false', 'this.#cons = 0']],
  },
  {
    name: 'ring-reset-writes-back',
    bug: 'RESET writes every port back',
    file: ring,
    edits: [
      [
        'this.#cons = 0\n    this.#overflow = false',
        'this.#cons = 0\n    this.#overflow = false\n    for (const port of this.#ports.keys()) this.#writeBack(port)',
      ],
    ],
  },
  {
    name: 'ring-read-rounds-up',
    bug: 'read of three bytes takes a port',
    file: ring,
    edits: [
      [
        'const wanted = Math.min(into.byteLength, EVTCHN_IO_MAX) >> 2',
        'const wanted = (Math.min(into.byteLength, EVTCHN_IO_MAX) + 3) >> 2',
      ],
    ],
  },
  {
    name: 'ring-write-uncapped',
    bug: 'write takes more than a page',
    file: ring,
    edits: [
      [
        'const count = Math.min(from.byteLength, EVTCHN_IO_MAX) >> 2',
        'const count = from.byteLength >> 2',
      ],
    ],
  },
  {
    name: 'ring-unbind-purges',
    bug: 'UNBIND takes the events of its port out of the ring',
    file: ring,
    edits: [
      [
        'this.#ports.delete(port)',
        'this.#ports.delete(port)\nfor (let i = this.#cons; i < this.#prod; i++) if (this.#ring[i % this.#ring.length] === port) this.#prod--',
      ],
    ],
  },
  {
    name: 'ring-grows-empty',
    bug: 'a ring that grows loses what is in it',
    file: ring,
    edits: [['this.#cons = 0\n    this.#prod = count', 'this.#cons = 0\n    this.#prod = 0']],
  },
  {
    name: 'ring-shrinks',
    bug: 'the ring is new whenever a port is bound',
    file: ring,
    edits: [
      [
        'if (this.#grows && this.#ports.size > this.#ring.length) this.#grow()',
        'this.#ring = new Uint32Array(RING_ENTRIES_FIRST)',
      ],
    ],
  },
  {
    name: 'ring-pending-lost',
    bug: 'what was sent to a masked port is lost',
    file: ring,
    edits: [['this.#word |= PORT_PENDING', '']],
  },
  {
    name: 'ring-pending-stays',
    bug: 'a pending event is delivered at every write-back from then on',
    file: ring,
    edits: [
      [
        'this.#word = PORT_MASKED\n      return true\n    }\n    this.#word = 0',
        'return true\n    }\n    this.#word = 0',
      ],
    ],
  },
  {
    name: 'ring-efbig-of-nothing',
    bug: 'after an overflow a read of no bytes is EFBIG too',
    file: ring,
    edits: [['return wanted === 0 ? 0 : -ERRNO.EFBIG', 'return -ERRNO.EFBIG']],
  },
  {
    name: 'ports-one-array-page',
    bug: 'UNBIND knows ports up to the highest one only',
    file: bindings,
    edits: [
      [
        'return (Math.floor(this.#highest / FIFO_PORTS_PER_PAGE) + 1) * FIFO_PORTS_PER_PAGE',
        'return this.#highest + 1',
      ],
    ],
  },
  {
    name: 'ports-of-the-kernel-armed',
    bug: "a port of the kernel's own can be armed",
    file: bindings,
    edits: [
      [
        'binding.references === 0 || binding.references >= REFERENCES_MAX',
        'binding.references >= REFERENCES_MAX',
      ],
    ],
  },
  {
    name: 'ports-close-with-the-first',
    bug: 'a port closes although a notification holds it',
    file: bindings,
    edits: [['if (binding.references > 0) return', 'if (binding.references > 1) return']],
  },
  {
    name: 'ports-static-closed',
    bug: 'UNBIND closes a port that BIND_STATIC took',
    file: bindings,
    edits: [['if (!binding.isStatic) closeChannel', 'closeChannel']],
    survives:
      'a port that nobody of this kernel has bound and that is yet open in Xen cannot be had with the three devices',
  },
  {
    name: 'notify-unknown-action',
    bug: 'unknown bits of the action are ignored',
    file: notify,
    edits: [['return (action & ~KNOWN_ACTIONS) === 0', 'return true']],
  },
  {
    name: 'notify-keeps-its-port',
    bug: 'a notification that fired keeps its port',
    file: notify,
    edits: [
      ['domain.ports.send(port)\n  releasePort(domain, action, port)', 'domain.ports.send(port)'],
    ],
  },
  {
    name: 'notify-lets-its-port-go-first',
    bug: 'the port is let go before the event is sent',
    file: notify,
    edits: [
      [
        'if (sendsEvent(action)) domain.ports.send(port)\n  releasePort(domain, action, port)',
        'releasePort(domain, action, port)\n  if (sendsEvent(action)) domain.ports.send(port)',
      ],
    ],
  },
  {
    name: 'notify-holds-no-port',
    bug: 'an armed port is checked and not held',
    file: notify,
    edits: [
      ['domain.ports.get(port)', 'domain.ports.has(port)'],
      ['if (isHeld(domain, action)) domain.ports.put(port)', ''],
    ],
  },
]
