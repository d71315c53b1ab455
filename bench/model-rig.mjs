import * as gntalloc from '../dist/abi/gntalloc.js'
import { encodeAllocGref, encodeDeallocGref } from '../dist/abi/gntalloc.js'
import * as gntdev from '../dist/abi/gntdev.js'
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../dist/abi/mman.js'
import { PAGE_SIZE } from '../dist/abi/page.js'
import { ManualClock } from '../dist/base/clock.js'
import { Machine } from '../dist/kernel/machine.js'

const ARENA = 0x1000
const PLACE_TOP = 0x7f00_0000_0000
/** Beyond it the driver's index is no longer one that can be mapped (2 GiB a descriptor). */
const PAGES_PER_GNTDEV = 500_000

/** Numbers without memory behind them: the model alone is measured. */
class NumberedPages {
  #free = []
  #next = 0

  allocate(count) {
    const runs = []
    for (let i = 0; i < count; i++) runs.push({ first: this.#free.pop() ?? this.#next++, count: 1 })
    return runs
  }

  free(frame) {
    this.#free.push(frame)
  }

  clearByte() {}

  read(_frame, _offset, length) {
    return new Uint8Array(length)
  }

  write() {}
}

/** The memory that ioctl arguments lie in. */
class Arena {
  bytes = new Uint8Array(2 ** 20)

  view(address, length) {
    return this.read(address, length)
  }

  read(address, length) {
    return this.bytes.slice(address - ARENA, address - ARENA + length)
  }

  write(address, bytes) {
    this.bytes.set(bytes, address - ARENA)
    return true
  }

  canAccess() {
    return true
  }
}

/** A machine with a granting and a mapping domain, driven by the ioctls that programs make. */
export class ModelRig {
  memory = new Arena()
  #place = PLACE_TOP

  constructor() {
    const limits = {
      'gntalloc.limit': 2 ** 21,
      maxGrantFrames: 4096,
      maxMaptrackFrames: 16384,
      maxMaps: 2 ** 21,
      maxMapPages: 2 ** 21,
      maxMappings: 2 ** 21,
      maxMemory: 2 ** 21,
    }
    const machine = new Machine({ pages: new NumberedPages(), clock: new ManualClock() })
    this.machine = machine
    this.granter = machine.createDomain({ domid: 1, limits }).createProcess({ pid: 1 })
    this.mapper = machine.createDomain({ domid: 2, limits }).createProcess({ pid: 2 })
    const options = { access: 'readwrite', nonblock: true }
    this.alloc = this.granter.open('gntalloc', options)
    this.dev = this.mapper.open('gntdev', options)
    this.openDev = () => this.mapper.open('gntdev', options)
  }

  /** `total` live grants, `each` of them by one ALLOC and one MAP, mapped on both sides. */
  load(total, each) {
    let dev = this.openDev()
    for (let done = 0, here = 0; done < total; done += each) {
      if (here + each > PAGES_PER_GNTDEV) {
        dev = this.openDev()
        here = 0
      }
      const { index, refs } = this.share(each)
      this.mmap(this.granter, this.alloc, index, each)
      const { index: mapped } = this.map(dev, refs)
      this.mmap(this.mapper, dev, mapped, each)
      here += each
    }
    this.dev = dev
  }

  ioctl(process, fd, number, bytes) {
    this.memory.write(ARENA, bytes)
    const result = process.ioctl(fd, number, ARENA, this.memory)
    if (result < 0) throw new Error(`ioctl ${number.toString(16)}: ${result}`)
    return this.memory.read(ARENA, bytes.byteLength)
  }

  share(count) {
    const request = encodeAllocGref({ domid: 2, flags: 1, count })
    const reply = this.ioctl(this.granter, this.alloc, gntalloc.GNTALLOC_ALLOC_GREF, request)
    return gntalloc.decodeAllocGrefReply(reply, count)
  }

  map(dev, refs) {
    const request = gntdev.encodeMapGrantRef(refs.map(ref => ({ domid: 1, ref })))
    const reply = this.ioctl(this.mapper, dev, gntdev.GNTDEV_MAP_GRANT_REF, request)
    return { index: gntdev.decodeMapGrantRefIndex(reply) }
  }

  mmap(process, fd, offset, count) {
    const length = count * PAGE_SIZE
    this.#place -= length
    const prot = PROT_READ | PROT_WRITE
    const request = { address: this.#place, offset, length, prot, flags: MAP_SHARED }
    const result = process.mmap(fd, request)
    if (result < 0) throw new Error(`mmap: ${result}`)
    return this.#place
  }

  /** Share, map, unmap and unshare one page: eight calls. */
  cycle() {
    const place = this.#place
    const { index, refs } = this.share(1)
    const near = this.mmap(this.granter, this.alloc, index, 1)
    const { index: mapped } = this.map(this.dev, refs)
    const far = this.mmap(this.mapper, this.dev, mapped, 1)
    this.mapper.munmap(far, PAGE_SIZE)
    const unmap = gntdev.encodeUnmapGrantRef({ index: mapped, count: 1 })
    this.ioctl(this.mapper, this.dev, gntdev.GNTDEV_UNMAP_GRANT_REF, unmap)
    this.granter.munmap(near, PAGE_SIZE)
    const dealloc = encodeDeallocGref({ index, count: 1 })
    this.ioctl(this.granter, this.alloc, gntalloc.GNTALLOC_DEALLOC_GREF, dealloc)
    this.#place = place
  }

  offsetForAddress(address) {
    const request = gntdev.encodeOffsetForVaddr(address)
    const number = gntdev.GNTDEV_GET_OFFSET_FOR_VADDR
    return gntdev.decodeOffsetForVaddrReply(this.ioctl(this.mapper, this.dev, number, request))
  }
}
