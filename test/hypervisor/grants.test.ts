import { expect, test } from 'vitest'
import {
  GNTMAP_HOST_MAP,
  GNTMAP_READONLY,
  GNTST,
  GTF_READING,
  GTF_WRITING,
} from '../../src/abi/grant-table.ts'
import { mapGrant, unmapGrant } from '../../src/hypervisor/grant-mapping.ts'
import { Hypervisor } from '../../src/hypervisor/hypervisor.ts'
import type { HypervisorLimits } from '../../src/hypervisor/limits.ts'
import type { PageStore } from '../../src/hypervisor/page-store.ts'
import type { XenDomain } from '../../src/hypervisor/xen-domain.ts'
import { fc } from '../setup/properties.ts'

const LIMITS: HypervisorLimits = { maxGrantFrames: 2, maxMaptrackFrames: 1, maxEventChannels: 8 }
const PER_KIND = 128
const HANDLES = 256

const noPages = { free: () => {} } as unknown as PageStore
const noPorts = { raised: () => {}, connected: () => {}, disconnected: () => {} }

/** An entry in plain words: what the guest wrote, and who maps it how. */
interface PlainEntry {
  grantee: number
  readonly: boolean
  maps: { mapper: number; writable: boolean }[]
}

/** The rules of section 5.3, over maps and arrays. */
class PlainModel {
  readonly entries = new Map<number, PlainEntry>()
  readonly handles = new Map<number, { ref: number; mapper: number; writable: boolean }>()

  grant(ref: number, grantee: number, readonly: boolean): void {
    this.entries.set(ref, { grantee, readonly, maps: [] })
  }

  end(ref: number): boolean {
    const entry = this.entries.get(ref)
    if (entry && entry.maps.length > 0) return false
    this.entries.delete(ref)
    return true
  }

  status(mapper: number, ref: number, writable: boolean, size: number): number {
    const mine = [...this.handles.values()].filter(handle => handle.mapper === mapper)
    if (mine.length >= HANDLES) return GNTST.no_space
    if (ref >= size) return GNTST.bad_gntref
    const entry = this.entries.get(ref)
    if (!entry) return GNTST.general_error
    if (entry.maps.some(map => map.mapper !== mapper)) return GNTST.general_error
    if (entry.maps.filter(map => map.writable === writable).length >= PER_KIND) {
      return GNTST.general_error
    }
    if (entry.grantee !== mapper || (writable && entry.readonly)) return GNTST.general_error
    return GNTST.okay
  }
}

const ref = fc.integer({ min: 8, max: 12 })
const domid = fc.constantFrom(1, 2, 3)
const step = fc.oneof(
  fc.record({ kind: fc.constant('grant'), ref, domid, flag: fc.boolean() }),
  fc.record({ kind: fc.constant('end'), ref, domid, flag: fc.boolean() }),
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('map'),
      ref: fc.oneof({ weight: 9, arbitrary: ref }, fc.constantFrom(511, 512, 0xfffffff0)),
      domid,
      flag: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('unmap'), ref: fc.nat(), domid, flag: fc.boolean() }),
  },
)
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

function compare(steps: Step[]): void {
  const xen = new Hypervisor(noPages)
  const domains = new Map<number, XenDomain>()
  for (const id of [1, 2, 3]) domains.set(id, xen.createDomain(id, 'hvm', LIMITS, noPorts))
  const { grants } = domains.get(1)!
  const plain = new PlainModel()
  for (const { kind, ref, domid, flag } of steps) {
    if (kind === 'grant') {
      if (plain.entries.has(ref)) continue
      plain.grant(ref, domid, flag)
      grants.grant(Uint32Array.of(ref), domid, [{ first: ref + 1000, count: 1 }], flag)
    } else if (kind === 'end') {
      expect(grants.end(ref)).toBe(plain.end(ref))
    } else if (kind === 'map') {
      const expected = plain.status(domid, ref, flag, grants.size)
      const flags = GNTMAP_HOST_MAP | (flag ? 0 : GNTMAP_READONLY)
      const handle = mapGrant(xen, domains.get(domid)!, 1, ref, flags)
      expect(Math.min(handle, 0)).toBe(expected)
      if (handle < 0) continue
      const key = domid * 1000 + handle
      expect(plain.handles.has(key)).toBe(false)
      plain.handles.set(key, { ref, mapper: domid, writable: flag })
      plain.entries.get(ref)!.maps.push({ mapper: domid, writable: flag })
    } else {
      const keys = [...plain.handles.keys()].filter(key => Math.floor(key / 1000) === domid)
      const mapper = domains.get(domid)!
      if (keys.length === 0) {
        expect(unmapGrant(xen, mapper, ref % HANDLES)).toBe(GNTST.bad_handle)
        continue
      }
      const key = keys[ref % keys.length]!
      const gone = plain.handles.get(key)!
      plain.handles.delete(key)
      const { maps } = plain.entries.get(gone.ref)!
      maps.splice(
        maps.findIndex(map => map.writable === gone.writable),
        1,
      )
      expect(unmapGrant(xen, mapper, key % 1000)).toBe(GNTST.okay)
    }
    for (const [one, { maps }] of plain.entries) {
      expect(grants.pins(one)).toBe(maps.length)
      const isWritten = maps.some(map => map.writable)
      const bits = (maps.length > 0 ? GTF_READING : 0) | (isWritten ? GTF_WRITING : 0)
      expect(grants.flags(one) & (GTF_READING | GTF_WRITING)).toBe(bits)
    }
  }
  for (const key of plain.handles.keys()) {
    unmapGrant(xen, domains.get(Math.floor(key / 1000))!, key % 1000)
  }
  for (const domain of domains.values()) expect(domain.maptrack.used).toBe(0)
}

test('grants are mapped and unmapped as a plain model says', () => {
  fc.assert(fc.property(fc.array(step, { maxLength: 400, size: 'max' }), compare), { numRuns: 150 })
})

test('mapping needs a host or device flag, a real domain, and PV for more', () => {
  const xen = new Hypervisor(noPages)
  const pv = xen.createDomain(1, 'pv', LIMITS, noPorts)
  const hvm = xen.createDomain(2, 'hvm', LIMITS, noPorts)
  pv.grants.grant(Uint32Array.of(8), 2, [{ first: 5, count: 1 }], false)
  expect(mapGrant(xen, hvm, 1, 8, 0)).toBe(GNTST.bad_gntref)
  expect(mapGrant(xen, hvm, 1, 8, GNTMAP_HOST_MAP | 16)).toBe(GNTST.general_error)
  expect(mapGrant(xen, hvm, 0x7ff0, 8, GNTMAP_HOST_MAP)).toBe(GNTST.bad_domain)
  expect(mapGrant(xen, hvm, 9, 8, GNTMAP_HOST_MAP)).toBe(GNTST.bad_domain)
})

test('a table grows to its limit and keeps what is in it', () => {
  const xen = new Hypervisor(noPages)
  const { grants } = xen.createDomain(1, 'pv', LIMITS, noPorts)
  grants.grant(Uint32Array.of(8), 2, [{ first: 77, count: 1 }], true)
  expect([grants.grow(), grants.grow(), grants.size]).toEqual([true, false, 1024])
  expect([grants.grantee(8), grants.frame(8), grants.isGranted(8)]).toEqual([2, 77, true])
})
