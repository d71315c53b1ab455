import { expect, test } from 'vitest'
import { ERRNO } from '../../src/abi/errno.ts'
import { decodePorts, EVTCHN_NOTIFY, encodePorts } from '../../src/abi/evtchn.ts'
import {
  GNTALLOC_ALLOC_GREF,
  GNTALLOC_DEALLOC_GREF,
  GNTALLOC_SET_UNMAP_NOTIFY,
} from '../../src/abi/gntalloc.ts'
import {
  GNTDEV_GET_OFFSET_FOR_VADDR,
  GNTDEV_GRANT_COPY,
  GNTDEV_UNMAP_GRANT_REF,
} from '../../src/abi/gntdev.ts'
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../src/abi/mman.ts'
import { runConformance } from '../../src/conformance/runner.ts'
import { createSimRig, type SimRigOptions } from '../../src/conformance/sim-rig.ts'
import { createWorld } from '../../src/sim/index.ts'
import { breakDevices, breakIoctl, breakMemory } from './fixtures/broken-platform.ts'

interface Breakage extends SimRigOptions {
  /** The rule that holds instead of the right one. */
  readonly rule: string
  /** Cases that must notice. */
  readonly fail: readonly number[]
  /** Cases beside them that must not. */
  readonly pass: readonly number[]
}

const BREAKAGES: readonly Breakage[] = [
  {
    rule: 'evtchn answers an unknown ioctl as the others do',
    wrap: breakDevices(device => ({
      ioctl: (number, argument) => {
        const result = device.ioctl(number, argument)
        return result === -ERRNO.ENOSYS ? -ERRNO.ENOTTY : result
      },
    })),
    fail: [4],
    pass: [2, 3, 12],
  },
  {
    rule: 'every grant is writable',
    wrap: breakIoctl(GNTALLOC_ALLOC_GREF, (argument, device) => {
      argument[2] = 1
      return device.ioctl(GNTALLOC_ALLOC_GREF, argument)
    }),
    fail: [21, 110, 118, 178],
    pass: [13, 112, 172],
  },
  {
    rule: 'DEALLOC of no pages succeeds',
    wrap: breakIoctl(GNTALLOC_DEALLOC_GREF, (argument, device) => {
      const result = device.ioctl(GNTALLOC_DEALLOC_GREF, argument)
      return argument[8] === 0 ? 0 : result
    }),
    fail: [48],
    pass: [46, 47, 49, 50],
  },
  {
    rule: 'unmap notifications are accepted and forgotten',
    wrap: breakIoctl(GNTALLOC_SET_UNMAP_NOTIFY, () => 0),
    fail: [68, 70, 73, 79, 83, 157, 230, 236],
    pass: [46, 77, 85, 164],
  },
  {
    rule: 'UNMAP takes any count as right',
    wrap: breakIoctl(GNTDEV_UNMAP_GRANT_REF, (argument, device) =>
      device.ioctl(GNTDEV_UNMAP_GRANT_REF, argument.slice().fill(0, 8, 12)),
    ),
    fail: [132],
    pass: [131, 133, 134, 135],
  },
  {
    rule: 'no mapping can be asked for its offset',
    wrap: breakIoctl(GNTDEV_GET_OFFSET_FOR_VADDR, () => -ERRNO.EINVAL),
    fail: [143, 146, 148, 243],
    pass: [145, 150, 281],
  },
  {
    rule: 'a copy that failed anywhere fails as a whole',
    wrap: breakIoctl(
      GNTDEV_GRANT_COPY,
      (argument, device) =>
        device.ioctl(GNTDEV_GRANT_COPY, argument) || (argument[0] === 3 ? -ERRNO.EINVAL : 0),
    ),
    fail: [181],
    pass: [171, 175, 178],
  },
  {
    rule: 'NOTIFY of any port succeeds',
    wrap: breakIoctl(EVTCHN_NOTIFY, (argument, device) => {
      device.ioctl(EVTCHN_NOTIFY, argument)
      return 0
    }),
    fail: [197, 198],
    pass: [188, 195, 199],
  },
  {
    rule: 'events come newest first',
    wrap: breakDevices(device => ({
      read: into => {
        const result = device.read(into)
        if (result > 0) into.set(encodePorts(decodePorts(into.slice(0, result)).reverse()))
        return result
      },
    })),
    fail: [190, 223, 230, 261, 285, 289, 291],
    pass: [188, 192, 234],
  },
  {
    rule: 'a port fires again without a write-back',
    wrap: breakDevices(device => ({
      read: into => {
        const result = device.read(into)
        if (result > 0) device.write(into.slice(0, result))
        return result
      },
    })),
    fail: [189, 264],
    pass: [188, 190, 234],
  },
  {
    rule: 'a mapping is always shared',
    wrap: breakDevices(device => ({
      mmap: options => device.mmap({ ...options, flags: MAP_SHARED }),
    })),
    fail: [32, 108, 109],
    pass: [31, 100],
  },
  {
    rule: 'a mapping is always readable and writable',
    wrap: breakDevices(device => ({
      mmap: options => device.mmap({ ...options, prot: PROT_READ | PROT_WRITE }),
    })),
    fail: [33, 109, 118, 123, 155, 283],
    pass: [31, 110, 112],
  },
  {
    rule: 'munmap leaves the mapping',
    wrap: breakMemory(() => ({ munmap: () => 0 })),
    fail: [55, 74, 106, 141, 159, 160, 241],
    pass: [46, 61, 131],
  },
  {
    rule: 'mprotect changes nothing',
    wrap: breakMemory(() => ({ protect: () => 0 })),
    fail: [27, 28, 109, 180],
    pass: [171, 179],
  },
  {
    rule: 'the kernel is older than it says',
    createWorld: () => createWorld({ kernel: 'linux-6.1' }),
    fail: [12, 109, 225],
    pass: [26, 100, 186],
  },
]

for (const { rule, fail, pass, ...options } of BREAKAGES) {
  test(`the right cases fail when ${rule}`, async () => {
    const rig = createSimRig(options)
    const report = await runConformance(rig, {
      filter: ({ id }) => fail.includes(id) || pass.includes(id),
    })
    await rig.close()
    const outcomes = Object.fromEntries(report.cases.map(one => [one.id, one.outcome]))
    const expected = [...fail.map(id => [id, 'failed']), ...pass.map(id => [id, 'passed'])]
    expect(outcomes).toEqual(Object.fromEntries(expected))
  })
}
