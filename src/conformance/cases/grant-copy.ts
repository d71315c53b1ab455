/** Section 7.11 and its later additions: GRANT_COPY. */
import assert from 'node:assert/strict'
import { DOMID_SELF } from '../../abi/domid.ts'
import type { CopyEndpoint, GrantName } from '../../abi/gntdev.ts'
import { GNTST } from '../../abi/grant-table.ts'
import { PROT_READ } from '../../abi/mman.ts'
import { PAGE_SIZE } from '../../abi/page.ts'
import { type CaseBody, type ConformanceCase, defineCase } from '../case.ts'
import type { CaseContext } from '../context.ts'
import type { Granted } from '../gntalloc.ts'
import { NO_SUCH_DOMAIN, NO_SUCH_REF, NOWHERE } from '../nonsense.ts'
import type { Region } from '../region.ts'
import { ok, refused } from '../verdict.ts'

/** A place in a granted page. */
const inGrant = ({ domid, ref }: GrantName, offset = 0): CopyEndpoint => ({ domid, ref, offset })

/** A place in memory of the puppet. */
const inMemory = (region: Region, offset = 0): CopyEndpoint => ({
  address: region.address + offset,
})

/** Bytes that tell their offset. */
const pattern = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 7) % 251)

const DONE = { result: 0, statuses: [GNTST.okay] }

/** One page of ours, granted to ourselves and mapped where it was made. */
async function page(
  t: CaseContext,
  flags?: number,
): Promise<Granted & { grant: GrantName; region: Region }> {
  const a = await t.gntalloc()
  const shared = await a.share({ domid: t.domid, ...(flags !== undefined && { flags }) })
  return { ...shared, grant: { domid: t.domid, ref: shared.ref } }
}

/** A ref of our table that grants nothing. */
async function freeGrant(t: CaseContext): Promise<GrantName> {
  const a = await t.gntalloc()
  const { index, ref } = await a.granted({ domid: t.domid })
  await ok(a.dealloc(index))
  return { domid: t.domid, ref }
}

/** The answer of copying one page from a grant into memory. */
async function copyOut(
  t: CaseContext,
  grant: GrantName,
): Promise<{ result: number; statuses: number[] }> {
  const dest = inMemory(await t.memory())
  return (await t.gntdev()).copy([{ source: inGrant(grant), dest, len: PAGE_SIZE }])
}

/** A case about GRANT_COPY: a kernel without it says so, and no more. */
export const defineCopying = (id: number, title: string, body: CaseBody): ConformanceCase =>
  defineCase(id, title, async t => {
    if (t.profile.hasGrantCopy) return body(t)
    await refused(t.profile.unknownIoctl, (await t.gntdev()).copy([]))
  })

/** What is refused before any grant is looked at. */
const refusals: readonly ConformanceCase[] = [
  defineCopying(166, 'a copy of no segments is 0', async t => {
    assert.equal((await (await t.gntdev()).copy([])).result, 0)
  }),

  defineCopying(167, 'a copy from memory to memory is EINVAL', async t => {
    const memory = await t.memory(2)
    const both = { source: inMemory(memory), dest: inMemory(memory, PAGE_SIZE) }
    await refused('EINVAL', (await t.gntdev()).copy([{ ...both, len: 8 }]))
  }),

  defineCopying(168, 'an unknown copy flag does not make a side a grant: EINVAL', async t => {
    const memory = await t.memory(2)
    const both = { source: inMemory(memory), dest: inMemory(memory, PAGE_SIZE) }
    await refused('EINVAL', (await t.gntdev()).copy([{ ...both, len: 8, flags: 4 }]))
  }),

  defineCopying(169, 'a copy over the end of a granted page is EINVAL', async t => {
    const { grant } = await page(t)
    const dest = inMemory(await t.memory())
    const segment = { source: inGrant(grant, 4000), dest, len: 97 }
    await refused('EINVAL', (await t.gntdev()).copy([segment]))
  }),

  defineCopying(170, 'a copy up to the end of a granted page succeeds', async t => {
    const { grant, region } = await page(t)
    await region.store(PAGE_SIZE - 1, 5)
    const memory = await t.memory()
    const segment = { source: inGrant(grant, 4000), dest: inMemory(memory), len: 96 }
    assert.deepEqual(await (await t.gntdev()).copy([segment]), DONE)
    assert.equal(await memory.byte(95), 5)
  }),

  defineCopying(179, 'a copy from or to an address where nothing is is EFAULT', async t => {
    const grant = inGrant((await page(t)).grant)
    const d = await t.gntdev()
    const nowhere = { address: NOWHERE }
    await refused('EFAULT', d.copy([{ source: grant, dest: nowhere, len: 8 }]))
    await refused('EFAULT', d.copy([{ source: nowhere, dest: grant, len: 8 }]))
  }),

  defineCopying(180, 'a copy into memory that we may only read is EFAULT', async t => {
    const { grant } = await page(t)
    const memory = await t.memory()
    await ok(memory.protect(PROT_READ))
    const segment = { source: inGrant(grant), dest: inMemory(memory), len: 8 }
    await refused('EFAULT', (await t.gntdev()).copy([segment]))
  }),

  defineCopying(
    272,
    'sixteen operations are done at a time, and what follows may fail',
    async t => {
      const { grant, region } = await page(t)
      const d = await t.gntdev()
      const good = 17
      await region.storeBytes(0, new Uint8Array(good).fill(1))
      const memory = await t.memory()
      const bytes = (count: number) =>
        Array.from({ length: count }, (_, i) => ({
          source: inGrant(grant, i),
          dest: inMemory(memory, i),
          len: 1,
        }))
      const bad = { source: inMemory(memory), dest: inMemory(memory), len: 1, flags: 4 }
      await refused('EINVAL', d.copy([...bytes(1), bad]))
      assert.equal(await memory.byte(0), 0)
      await refused('EINVAL', d.copy([...bytes(good), bad]))
      assert.deepEqual(await memory.bytes(0, good), new Uint8Array(good).fill(1, 0, 16))
    },
  ),
]

/** What is copied. */
const copies: readonly ConformanceCase[] = [
  defineCopying(
    171,
    'a page is copied from a grant, which may be read-only, into memory',
    async t => {
      const { grant, region } = await page(t, 0)
      await region.storeBytes(0, pattern(PAGE_SIZE))
      const memory = await t.memory()
      const segment = { source: inGrant(grant), dest: inMemory(memory), len: PAGE_SIZE }
      assert.deepEqual(await (await t.gntdev()).copy([segment]), DONE)
      assert.deepEqual(await memory.bytes(0, PAGE_SIZE), pattern(PAGE_SIZE))
    },
  ),

  defineCopying(172, 'a page is copied from memory into a writable grant', async t => {
    const { grant, region } = await page(t)
    const memory = await t.memory()
    await memory.storeBytes(0, pattern(PAGE_SIZE))
    const segment = { source: inMemory(memory), dest: inGrant(grant), len: PAGE_SIZE }
    assert.deepEqual(await (await t.gntdev()).copy([segment]), DONE)
    assert.deepEqual(await region.bytes(0, PAGE_SIZE), pattern(PAGE_SIZE))
  }),

  defineCopying(173, 'a page is copied from one grant into another', async t => {
    const from = await page(t)
    const to = await page(t)
    await from.region.storeBytes(0, pattern(PAGE_SIZE))
    const segment = { source: inGrant(from.grant), dest: inGrant(to.grant), len: PAGE_SIZE }
    assert.deepEqual(await (await t.gntdev()).copy([segment]), DONE)
    assert.deepEqual(await to.region.bytes(0, PAGE_SIZE), pattern(PAGE_SIZE))
  }),

  defineCopying(174, 'the local side of a copy may cross a page boundary', async t => {
    const { grant, region } = await page(t)
    await region.storeBytes(0, pattern(PAGE_SIZE))
    const memory = await t.memory(2)
    const segment = { source: inGrant(grant), dest: inMemory(memory, 1001), len: PAGE_SIZE }
    assert.deepEqual(await (await t.gntdev()).copy([segment]), DONE)
    assert.deepEqual(await memory.bytes(1001, PAGE_SIZE), pattern(PAGE_SIZE))
  }),

  defineCopying(183, 'a copy may name our own domain by DOMID_SELF', async t => {
    const { ref, region } = await page(t)
    await region.store(0, 8)
    assert.deepEqual(await copyOut(t, { domid: DOMID_SELF, ref }), DONE)
  }),

  defineCopying(184, 'a copy stores its status over what was there', async t => {
    const { grant } = await page(t)
    const segment = { source: inGrant(grant), dest: inMemory(await t.memory()), len: 8 }
    assert.deepEqual(await (await t.gntdev()).copy([segment], { preset: 77 }), DONE)
  }),

  defineCopying(270, 'the local side of a copy may be a page that we granted', async t => {
    const { grant, region } = await page(t)
    await region.store(0, 6)
    const local = (await page(t)).region
    const segment = { source: inGrant(grant), dest: inMemory(local), len: 8 }
    assert.deepEqual(await (await t.gntdev()).copy([segment]), DONE)
    assert.equal(await local.byte(0), 6)
  }),

  defineCopying(271, 'the local side of a copy may be a mapped page, but only of ours', async t => {
    const { grant, region } = await page(t)
    await region.store(0, 6)
    const d = await t.gntdev()
    const into = (local: Region) => [{ source: inGrant(grant), dest: inMemory(local), len: 8 }]
    if (t.kind === 'pv') {
      const own = await page(t)
      const { region: mapped } = await d.mapped(own.grants)
      assert.deepEqual(await d.copy(into(mapped)), DONE)
      assert.equal(await own.region.byte(0), 6)
    }
    if (!t.has('two-domains')) return

    const other = await t.otherDomain()
    const on = await other.puppet()
    const { ref } = await (await t.gntalloc({ on })).granted({ domid: t.domid })
    const { region: foreign } = await d.mapped([{ domid: other.domid, ref }])
    assert.deepEqual(await d.copy(into(foreign)), { result: 0, statuses: [GNTST.bad_page] })
    assert.equal(await foreign.byte(0), 0)
  }),
]

/** What the hypervisor refuses: the call succeeds, the status of the segment tells. */
const statuses: readonly ConformanceCase[] = [
  defineCopying(175, 'a copy from a ref that grants nothing has status -1', async t => {
    const answer = await copyOut(t, await freeGrant(t))
    assert.deepEqual(answer, { result: 0, statuses: [GNTST.general_error] })
  }),

  defineCopying(176, 'a copy from a ref beyond the table has status -3', async t => {
    const answer = await copyOut(t, { domid: t.domid, ref: NO_SUCH_REF })
    assert.deepEqual(answer, { result: 0, statuses: [GNTST.bad_gntref] })
  }),

  defineCopying(177, 'a copy from a domain that does not exist has status -2', async t => {
    const answer = await copyOut(t, { domid: NO_SUCH_DOMAIN, ref: 8 })
    assert.deepEqual(answer, { result: 0, statuses: [GNTST.bad_domain] })
  }),

  defineCopying(178, 'a copy into a read-only grant has status -1 and changes nothing', async t => {
    const { grant, region } = await page(t, 0)
    const memory = await t.memory()
    await memory.store(0, 9)
    const segment = { source: inMemory(memory), dest: inGrant(grant), len: 8 }
    const answer = await (await t.gntdev()).copy([segment])
    assert.deepEqual(answer, { result: 0, statuses: [GNTST.general_error] })
    assert.equal(await region.byte(0), 0)
  }),

  defineCopying(181, 'a segment that fails does not stop the others', async t => {
    const { grant, region } = await page(t)
    await region.store(0, 4)
    const free = await freeGrant(t)
    const memory = await t.memory()
    const answer = await (await t.gntdev()).copy([
      { source: inGrant(grant), dest: inMemory(memory), len: 1 },
      { source: inGrant(free), dest: inMemory(memory, 1), len: 1 },
      { source: inGrant(grant), dest: inMemory(memory, 2), len: 1 },
    ])
    assert.deepEqual(answer, { result: 0, statuses: [0, GNTST.general_error, 0] })
    assert.deepEqual(await memory.bytes(0, 3), Uint8Array.of(4, 0, 4))
  }),

  defineCopying(182, 'a copy of no bytes looks at no grant', async t => {
    const dest = inMemory(await t.memory())
    const segment = { source: inGrant(await freeGrant(t)), dest, len: 0 }
    assert.deepEqual(await (await t.gntdev()).copy([segment]), DONE)
  }),
]

export const grantCopy: readonly ConformanceCase[] = [...refusals, ...copies, ...statuses]
